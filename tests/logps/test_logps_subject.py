"""What a run's margins are scaled by when it is evaluated."""

import pytest

from logratio.config import RunConfig
from logratio.logps.subject import Subject


@pytest.mark.parametrize(
    ("objective", "beta"),
    [
        ({"name": "dpo", "beta": 0.3}, 0.3),
        ({"name": "ipo", "tau": 0.2}, 0.2),
        ({"name": "orpo"}, 0.1),
        ({"name": "dpo_norm", "beta": 5.0}, 0.1),  # per token: not what multiplies a sum
        ({"name": "simpo", "beta": 2.0}, 0.1),
        ({"name": "ipo_mean", "tau": 0.01}, 0.1),
    ],
)
def test_margins_of_summed_log_ratios_are_scaled_by_what_is_per_nat(objective, beta):
    assert Subject("a/model", RunConfig(model="a/model", data="pairs.jsonl", objective=objective)).beta == beta
    assert Subject("a/model").beta == 0.1
