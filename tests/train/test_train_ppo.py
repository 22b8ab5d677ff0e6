"""PPO as a run: values on disk with their phase, the critic and β restored, the first step of a phase on policy."""

import json

import numpy as np
import pytest
import small_run
import torch
from safetensors.torch import load_file
from test_train_rollouts import world

from logratio.models.load import load_model
from logratio.models.save import save_model
from logratio.train import checkpoint
from logratio.train.drawn import read

ADAPTIVE = {"objective": {"name": "ppo", "kl_target": 0.01, "kl_horizon": 20.0}}
"""Of 2 phases of 2 batches and 4 steps."""

SLOW = pytest.mark.slow


def state_of(run):
    return checkpoint.load(sorted((run / "checkpoints").glob("step-*"))[-1])


def trained(run):
    return [row for row in small_run.metrics(run) if row["kind"] == "train"]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ppo")
    return {**world(folder), **ADAPTIVE, "train.precision": "fp32", "cache": folder / "cache"}


@pytest.fixture(scope="module")
def whole(given, tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    small_run.run(**given, output=str(run))
    return run


def test_the_first_step_of_a_phase_is_on_policy_and_its_values_are_those_it_was_labelled_with(whole):
    rows = trained(whole)
    assert len(rows) == 8
    for index, row in enumerate(rows):
        first = index % 4 == 0
        assert (row["kl_old_k3"] > 0) == (not first)
        assert not first or (row["clip_low"] == 0 and row["clip_high"] == 0)
    assert rows[0]["value"] == 0.0 and rows[0]["explained_variance"] == 0.0  # a head of 0
    assert rows[4]["value"] != 0.0


def test_a_phase_on_disk_is_labelled_again_to_what_was_learned_from(whole):
    """Log-probs and values of π_old, of the reference, and the state are all there: the returns follow by hand."""
    rows = read(whole / "rollouts" / "phase-000002.jsonl")
    judged = [row for row in rows if "columns" in row]
    assert judged and {"old", "reference", "value_old"} <= judged[0]["columns"].keys()
    beta = rows[0]["state"]["kl_coefficient"]
    assert beta == pytest.approx(trained(whole)[4]["kl_coefficient"], rel=1e-6)
    origin = rows[0]["state"]["score_origin"]
    returns, sizes = [], []
    for row in judged:
        columns = {name: np.array(values) for name, values in row["columns"].items()}
        lengths = [len(own) for own in row["tokens"]]
        reward = -beta * (columns["old"] - columns["reference"])
        score = [one if ended else -1.0 for one, ended in zip(row["scores"], row["ended"], strict=True)]
        reward[np.cumsum(lengths) - 1] += np.array(score) - origin
        ends = np.cumsum(lengths)[:-1]
        for part, value in zip(np.split(reward, ends), np.split(columns["value_old"], ends), strict=True):
            ahead, advantage = 0.0, 0.0
            for r, v in zip(part[::-1], value[::-1], strict=True):
                advantage = r + ahead - v + 0.95 * advantage
                ahead = v
                returns.append(advantage + v)
        sizes.append(sum(lengths))
    measured = [row["return"] for row in trained(whole)[4:6]]  # the means over the phase's two batches
    first = sum(sizes[: rows[0]["batches"][0]])
    assert measured == pytest.approx([np.mean(returns[:first]), np.mean(returns[first:])], abs=1e-5)


def test_beta_follows_the_kl_from_phase_to_phase_and_is_kept(whole):
    rows, (_, progress) = trained(whole), state_of(whole)
    assert len({row["kl_coefficient"] for row in rows[:4]}) == 1
    assert rows[0]["kl_coefficient"] == pytest.approx(0.05)
    assert rows[4]["kl_coefficient"] != rows[0]["kl_coefficient"]
    assert set(progress.state) == {"kl_coefficient", "score_origin", "score_settled"}
    assert progress.state["kl_coefficient"] > 0 and progress.state["score_settled"] == 1


@pytest.mark.parametrize("after", [pytest.param(1, marks=SLOW), pytest.param(4, marks=SLOW), 6])
def test_a_run_that_stops_anywhere_goes_on_bit_for_bit_with_its_critic(given, whole, tmp_path, after):
    parted = tmp_path / "run"
    stopped = small_run.run(**given, output=str(parted), stop_at=("train", after, ["SIGTERM"]))
    assert (stopped.status, stopped.step) == ("interrupted", after)
    small_run.run(**given, resume=str(parted))
    (own, progress), (other, expected) = state_of(parted), state_of(whole)
    assert all((own[name] == other[name]).all() for name in other) and own.keys() == other.keys()
    assert any(name.startswith("weight/value.") for name in own) and progress.state == expected.state
    assert small_run.metrics(parted) == small_run.metrics(whole)


def test_a_finished_run_leaves_its_values_beside_its_model(whole):
    kept, (tensors, _) = load_file(whole / "value" / "value.safetensors"), state_of(whole)
    assert (kept["score.weight"] == tensors["weight/value.score.weight"]).all() and kept["score.weight"].any()
    assert json.loads((whole / "value" / "value.json").read_text())["model"] == "../model"


def test_a_critic_begins_as_the_reward_model_that_it_is_given(given, tmp_path):
    """Its first values are that model's scores of each prefix: they are what the phase was labelled with."""
    scorer = load_model(given["model"], head="score", seed=3)
    save_model(scorer, scorer.tokenizer, tmp_path / "scorer")
    value = {"value.body": "separate", "value.start": str(tmp_path / "scorer")}
    done = small_run.run(**given, **value, output=str(tmp_path / "run"), **{"train.epochs": 0.5})
    (row, *_) = read(tmp_path / "run" / "rollouts" / "phase-000001.jsonl")
    ids = torch.tensor([row["prompt_tokens"] + row["tokens"][0]])
    with torch.no_grad():
        h_LD = scorer.model.model(ids).last_hidden_state[0]
        value_L = scorer.model.score(h_LD).squeeze(-1)
    at = len(row["prompt_tokens"]) - 1
    found = row["columns"]["value_old"][: len(row["tokens"][0])]
    assert found == pytest.approx(value_L[at : at + len(found)].tolist(), abs=1e-5) and np.ptp(found) > 0
    assert done.status == "finished" and (tmp_path / "run" / "value" / "model.safetensors").is_file()


def test_a_reference_that_moves_keeps_no_copy_of_the_values(given, tmp_path):
    moved = tmp_path / "run"
    small_run.run(**given, output=str(moved), **{"reference_sync.every": 1, "train.epochs": 0.5})
    tensors, _ = state_of(moved)
    held = {name for name in tensors if name.startswith("reference/")}
    assert held and not [name for name in held if "value." in name]
    assert len(held) == len([name for name in tensors if name.startswith("weight/") and "weight/value." not in name])
