"""Runs on fresh responses that are killed, in the midst of whatever they do, and go on bit for bit."""

import itertools
import os
import pkgutil
import signal
from unittest.mock import patch

import pytest
import small_run
from test_train_redraw import DRAWN as REDRAWN
from test_train_redraw import HALF
from test_train_resume import FORKS, LIMIT, kill_test, left_by
from test_train_rollouts import numbered, world

from logratio.maths.counter import stream

RECIPES = {
    "grpo": {},
    "dapo": {"rollout": REDRAWN},
    "ppo": {"objective": {"name": "ppo", "kl_target": 0.01, "kl_horizon": 20.0}},
    "ppo_ptx": {"objective": "ppo", "texts.weight": 2.0, "texts.batch_size": 3},
}


def recipe(name, folder, *, n=20):
    """Arguments of 2 phases of 4 steps (for n = 20), with checkpoints within phases too."""
    arguments = {**world(folder, n=n, rows=numbered), **RECIPES[name], "every.checkpoint": 0.34}
    if name == "dapo":
        (folder / "half.py").write_text(HALF)
        arguments["judge"] = f"{folder}/half.py:half"
    if name == "ppo_ptx":
        texts = [{"text": f" the {word} is good"} for word in small_run.WORDS[:7]]
        arguments["texts.data"] = str(small_run.write_rows(folder / "texts.jsonl", texts))
    return arguments


def killed(where, number, **arguments):
    """Run until a function is called for the n-th time, and be killed there."""
    called, calls = pkgutil.resolve_name(where), itertools.count(1)

    def counted(*own, **named):
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return called(*own, **named)

    with patch(where.replace(":", "."), counted):
        small_run.run(**arguments)


PASS = "logratio.rollout.shared:_Work.advance"
JUDGING = "logratio.train.judges:TimedJudge.__call__"
STEP, SAVING = "logratio.train.loop:step_gradient", "logratio.train.loop:checkpoint"


def left_so_far(run):
    phases, steps = (sorted(run.glob(pattern)) for pattern in ("rollouts/phase-*", "checkpoints/step-*"))
    return len(phases), int(steps[-1].name[-1]) if steps else 0


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_run_killed_in_the_midst_of_drawing_judging_learning_and_saving_goes_on_bit_for_bit(tmp_path, name):
    """A response has 6 tokens, so that a rollout takes 6 passes of the sampler or more; the first evaluation has 6."""
    arguments = {**recipe(name, tmp_path), "every.eval": 1.0, "keep.last": 9}
    small_run.run(**arguments, output=str(tmp_path / "whole"))
    draw = stream(0, "kills", *name.encode())
    kills = [  # where, at which call, and (phases on disk, newest checkpoint) as it then is
        (PASS, int(draw.integers(8, 12)), (0, 0)),  # the first phase is being drawn
        (STEP, 4, (1, 3)),  # its last step, from a checkpoint within the phase
        (PASS, int(draw.integers(2, 6)), (1, 3)),  # the second phase, by the weights of a step that no checkpoint has
        (JUDGING, 2 if name == "dapo" else 1, (1, 3)),  # with redraw: the prompts that take others' place
        (STEP, int(draw.integers(2, 4)), (2, 3)),  # within the second phase, before a checkpoint has anything of it
        (STEP, 4, (2, 6)),
        (SAVING, 1, (2, 6)),  # after the last step, with nothing of it saved
    ]
    again = {**arguments, "output": str(tmp_path / "run"), "resume": "auto"}
    for where, number, left in kills:
        process = FORKS.Process(target=killed, args=(where, number), kwargs=again)
        process.start()
        process.join(LIMIT)
        assert process.exitcode == -signal.SIGKILL
        assert left_so_far(tmp_path / "run") == left
    assert small_run.run(**again).status == "finished"
    assert left_by(tmp_path / "run") == left_by(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_run_killed_at_any_moment_goes_on_bit_for_bit(tmp_path, name):
    arguments, folder = recipe(name, tmp_path, n=40), tmp_path / "kills"
    folder.mkdir()
    kill_test(folder, arguments, moments=[(0.1, 0.4), (0.3, 0.7), (0.5, 0.9)])
