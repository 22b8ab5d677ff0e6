"""What `rollout` and `judge` contradict, said of the recipe alone."""

import numpy as np
import pytest

from logratio.data.prompts import Asking
from logratio.errors import ConfigError
from logratio.rollout.judge import Verdict
from logratio.rollout.sampling import Sample
from logratio.train import drawn
from logratio.train.recipe import resolve

LEAST = {"model": "m", "data": "d", "judge": "rewards:score"}
SERVER = {"url": "http://127.0.0.1:8000/v1", "model": "judge-1"}


@pytest.mark.parametrize(
    "objective",
    [
        {"name": "grpo"},
        {"name": "gspo"},
        {"name": "rloo"},
        {"name": "nash_md", "mixture": 0},
        {"name": "reinforce_pp", "baseline": "group"},
    ],
    ids=lambda objective: objective["name"],
)
def test_one_response_a_prompt_is_refused_with_the_recipe_where_responses_are_measured_against_each_other(objective):
    with pytest.raises(ConfigError, match=f"rollout.k is 1, but objective {objective['name']}, .* rollout.k to 2 or"):
        resolve({**LEAST, "objective": objective, "rollout": {"k": 1}})
    assert resolve({**LEAST, "objective": objective, "rollout": {"k": 2}}).config.rollout.k == 2


@pytest.mark.parametrize("name", ["ppo", "reinforce_pp", "nash_md", "xpo"])
def test_one_response_a_prompt_is_enough_for_the_others(name):
    assert resolve({**LEAST, "objective": name, "rollout": {"k": 1}}).config.rollout.k == 1


@pytest.mark.parametrize("name", ["ppo", "reinforce_pp"])
def test_a_judge_that_compares_is_refused_where_there_is_one_response_to_a_prompt(name):
    recipe = {**LEAST, "objective": name, "rollout": {"k": 1}}
    with pytest.raises(
        ConfigError, match=r"^rollout.k is 1, but judge.url names a server that compares [^.]* no score;"
    ):
        resolve({**recipe, "judge": SERVER})
    assert resolve({**recipe, "judge": {**SERVER, "form": "score"}}).config.judge.form == "score"
    assert resolve({**recipe, "judge": SERVER, "rollout": {"k": 2}}).config.rollout.k == 2


@pytest.mark.parametrize("name", ["nash_md", "xpo"])
def test_a_rivals_response_is_one_to_compare_with(name):
    assert resolve({**LEAST, "objective": name, "rollout": {"k": 1}, "judge": SERVER}).config.rollout.k == 1


def test_one_response_that_was_not_scored_is_a_prompt_without_a_verdict():
    sample = Sample(np.array([3, 2], np.int32), np.zeros(2, np.float32), True)
    rows = [
        drawn.row_of(n, [1, 2], Asking("p", {}, 1.0), [sample], ["x"], verdict)
        for n, verdict in enumerate([Verdict(), Verdict(scores=(0.5,))])
    ]
    assert "neither scored nor compared" in rows[0]["failed"] and "scores" not in rows[0]
    assert drawn.judged(rows) == rows[1:] and drawn.measures(rows, [])["judge_failures"] == 1
