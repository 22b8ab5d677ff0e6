"""Win rates in the world whose reward is known: a DPO run against the model that it began with."""

import pytest

from logratio.evaluate.winrate.api import winrate
from logratio.rollout.judges.function import FunctionJudge
from logratio.testbed.measure import answers
from logratio.testbed.trial import trial


@pytest.mark.slow
def test_the_win_rate_is_that_of_the_quickstart(nano, tmp_path):
    before = answers(nano, nano.model, seed=1)
    done = trial(nano, before, nano.judged(nano.world.reward), output=tmp_path / "dpo")

    def score(prompts, responses, rows):
        return [nano.world.reward(prompt + text) for prompt, text in zip(prompts, responses, strict=True)]

    told = winrate(
        [done.run.directory, nano.model],
        nano.held_out,
        FunctionJudge(score, "r*"),
        out=tmp_path / "rates",
        k=4,
        max_new_tokens=nano.world.scale.response,
    )
    (pair,) = told["at"][0]["pairs"]
    theirs, ours = done.measures["win_rate"], pair["rate"]
    assert ours["n"] == 800 and ours["low"] > 0.55
    assert abs(theirs.mean - ours["mean"]) < 3 * (theirs.se**2 + ours["se"] ** 2) ** 0.5
    assert pair["flips"]["mean"] == 0 and pair["shown_first"]["mean"] == 0.5
    assert told["at"][0]["models"][0]["tokens"]["mean"] == pytest.approx(done.measures["length"].mean, rel=0.15)
