"""Rounds: each leaves its model, pairs and evaluation, says what its reference was, and survives a kill anywhere."""

import json
import os
import signal
from unittest.mock import patch

import numpy as np
import pytest
import small_run
from safetensors.torch import load_file
from test_train_resume import FORKS, left_by
from test_train_rollouts import world

from logratio.config import DataPart
from logratio.data.read import rows
from logratio.logps.policy import Policy
from logratio.logps.reference import score
from logratio.models.load import load_model
from logratio.train import loop
from logratio.train.drawn import Choice, read

ROUNDS = {"objective": "dpo", "rollout": {"k": 3, "max_new_tokens": 6, "rounds": 2}}
"""Two rounds of two steps."""


def told(run, number, name="round.json"):
    return json.loads((run / "rounds" / f"{number:02d}" / name).read_text())


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """A run whose reference becomes the policy as each round begins."""
    folder = tmp_path_factory.mktemp("moved")
    arguments = {**world(folder), **ROUNDS, "reference_sync": {"every": "phase"}, "train.lr": 1e-2}
    return small_run.run(**arguments, output=str(folder / "run")).directory, arguments


def test_the_model_of_a_round_is_what_draws_in_the_next_one_and_its_reference(moved):
    run, arguments = moved
    choice = Choice("pairs")
    rows = [row for row in read(run / "rollouts" / "phase-000002.jsonl") if len(set(row["scores"])) > 1]
    groups = [choice.group(row) for row in rows]
    apart = {}
    for name in (str(run / "rounds" / "01" / "model"), arguments["model"]):
        known = score(Policy(load_model(name).model).eval(), groups, bin_tokens=1 << 10)
        sampled = np.concatenate(
            [own - group.columns.token["sampled"] for own, group in zip(known, groups, strict=True)]
        )
        against = np.concatenate([own - row["columns"]["reference"] for own, row in zip(known, rows, strict=True)])
        apart[name] = np.abs(sampled).max(), np.abs(against).max()
    own, start = apart.values()
    assert max(own) < 1e-4 and min(start) > 1e-3
    assert told(run, 1)["reference"] == f"{arguments['model']} as loaded, before the first step"
    assert told(run, 2)["reference"] == "rounds/01/model, the policy as the round began"


def test_a_round_leaves_what_it_learned_from_and_how_it_then_measured(moved):
    run, _ = moved
    evaluations = {row["step"]: row for row in small_run.metrics(run) if row["kind"] == "eval"}
    for number in (1, 2):
        about = told(run, number)
        assert about["steps"] == [2 * number - 1, 2 * number] and (run / about["rollouts"]).is_file()
        assert told(run, number, "evaluation.json")["reward"] == evaluations[2 * number]["reward"]
        drawn = {
            row["prompt"]: dict(zip(row["responses"], row["scores"], strict=True))
            for row in read(run / about["rollouts"])
        }
        pairs = [row for row, _ in rows(DataPart(path=str(run / "rounds" / f"{number:02d}" / "pairs.jsonl")))]
        decided = [own for own in drawn.values() if len(set(own.values())) > 1]
        assert len(pairs) == len(decided) > 0
        for row in pairs:
            scores = drawn[row["prompt"]]
            assert scores[row["chosen"]] == max(scores.values()) and scores[row["rejected"]] == min(scores.values())
    last, left = (load_file(folder / "model" / "model.safetensors") for folder in (run / "rounds" / "02", run))
    assert last.keys() == left.keys() and all((last[name] == left[name]).all() for name in left)


def test_a_round_of_an_adapter_leaves_the_adapter_and_a_fixed_reference_is_said_to_be_one(tmp_path):
    arguments = {**world(tmp_path), **ROUNDS, "lora": 2, "keep.last": 9, "every.checkpoint": 1}
    run = small_run.run(**arguments, output=str(tmp_path / "run")).directory
    for number in (1, 2):
        assert {path.name for path in (run / "rounds" / f"{number:02d}" / "model").iterdir()} >= {
            "adapter_config.json",
            "adapter_model.safetensors",
        }
        assert told(run, number)["reference"] == f"{arguments['model']} with the fresh adapter off"
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["step-00000002", "step-00000004"]


def killed_before_the_first_checkpoint(**arguments):
    with patch.object(loop, "checkpoint", lambda *_: os.kill(os.getpid(), signal.SIGKILL)):
        small_run.run(**arguments)


KILLS = [
    (small_run.run, ("train", 1, ["SIGKILL"])),  # within the first round
    (small_run.run, ("eval", 2, ["SIGKILL"])),  # as it ends, with nothing of it left yet
    (killed_before_the_first_checkpoint, None),  # what it left is there, and it is not known to have ended
    (small_run.run, ("checkpoint", 2, ["SIGKILL"])),  # between the two
    (small_run.run, ("train", 3, ["SIGKILL"])),  # within the second
    (killed_before_the_first_checkpoint, None),
]


@pytest.mark.slow
def test_a_run_killed_within_and_between_rounds_leaves_the_same(moved, tmp_path):
    whole, arguments = moved

    def left(run):
        rounds = {str(path.relative_to(run)): path.read_bytes() for path in run.glob("rounds/**/*") if path.is_file()}
        return left_by(run) | {"rounds": rounds}

    again = {**arguments, "output": str(tmp_path / "run"), "resume": "auto", "every.checkpoint": 1}
    seen = []
    for target, stop_at in KILLS:
        process = FORKS.Process(target=target, kwargs={**again, "stop_at": stop_at})
        process.start()
        process.join(120)
        assert process.exitcode == -signal.SIGKILL
        seen.append(len(list((tmp_path / "run").glob("rounds/??"))))
    assert seen == [0, 0, 1, 1, 1, 2]
    small_run.run(**{**arguments, "output": str(tmp_path / "undisturbed"), "every.checkpoint": 1})
    assert small_run.run(**again).status == "finished"
    assert left(tmp_path / "run") == left(tmp_path / "undisturbed")
