"""Evaluation inside a run: held-out groups are scored once, whatever is then measured on which of them."""

import numpy as np
import pytest
import torch

from logratio import objectives
from logratio.logps.policy import Policy
from logratio.train.distributed import World
from logratio.train.gradient import Learner
from logratio.train.validate import Prompts, Validation
from worlds import random_groups, tiny_llama

ALONE = World(0, 1, "none", torch.device("cpu"))
NOTHING = Prompts([], None, [], 1, 0, None)


def flat(value):
    """All numbers in a row's value, in order."""
    if isinstance(value, dict):
        value = list(value.values())
    return [number for part in value for number in flat(part)] if isinstance(value, list) else [value]


@pytest.mark.parametrize(("name", "shape"), [("dpo", {}), ("kto", {"k": 1, "labels": True, "mismatched": True})])
def test_both_halves_are_measured_as_by_themselves_and_every_group_is_scored_once(name, shape):
    objective, groups, scored = objectives.load(name), random_groups(12, seed=2, **shape), []
    policy = Policy(tiny_llama(dtype=torch.float64))
    policy.register_forward_pre_hook(lambda _, given: scored.extend(given[0].row_G.tolist()))
    learner = Learner(policy, objective, objective.settings(), ALONE, 90, objective.scope)
    select = np.array([0, 3, 4, 9])

    def measured(own, choosing=None):
        return Validation(learner, own, choosing, NOTHING, lambda row: None)(3)

    row = measured(groups, select)
    assert sorted(scored) == sorted(group.row for group in groups)
    assert row.keys() - {"select", "unseen"} == measured(groups).keys()
    for half, members in (("select", select), ("unseen", np.setdiff1d(np.arange(12), select))):
        alone = measured([groups[i] for i in members])
        assert row[half].keys() == alone.keys()
        for metric, value in alone.items():
            assert flat(row[half][metric]) == pytest.approx(flat(value), abs=1e-6), (half, metric)
    assert row["select"] != row["unseen"] and measured([]) == {}
