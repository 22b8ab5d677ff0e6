"""What `rollout` and `judge` contradict, said of the recipe alone."""

import pytest

from logratio.errors import ConfigError
from logratio.train.recipe import resolve

LEAST = {"model": "m", "data": "d", "judge": "rewards:score"}


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
