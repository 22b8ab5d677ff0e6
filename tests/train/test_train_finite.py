"""What is not finite stops the step that has it, with its name and rows, and nothing has moved."""

import numpy as np
import pytest
import torch

from logratio import objectives
from logratio.batch.packed import pack
from logratio.errors import NonFiniteError
from logratio.logps.policy import Policy
from logratio.testing.cases import case
from logratio.train.distributed import World
from logratio.train.finite import Finite
from logratio.train.gradient import Learner, step_gradient
from logratio.train.source import Step
from worlds import random_groups, tiny_llama


def spoiled(groups, place):
    bad = np.array(groups[place].columns.token["reference"])
    bad[-1] = np.inf
    return [g if i != place else g.with_columns(token={"reference": bad}) for i, g in enumerate(groups)]


@pytest.mark.parametrize("name", ["dpo", "ipo", "kto", "bco", "beta_dpo", "aot", "plackett_luce", "chi_po"])
@pytest.mark.parametrize("bin_tokens", [1, 10**6])
def test_every_kind_of_objective_gets_through_a_step_with_an_infinity_in_it_to_the_sentence_about_it(name, bin_tokens):
    """The step is looked at once it is over, so an objective meets the infinity first: it must not fail in its way."""
    objective = objectives.load(name)
    groups = spoiled(case(objective, objective.settings(), n=6).groups, 4)
    policy, world = Policy(tiny_llama()), World(0, 1, "none", torch.device("cpu"))
    learner = Learner(policy, objective, objective.settings(), world, bin_tokens, objective.scope)
    state = {key: value.clone() for key, value in learner.state.items()}
    weights = [p.detach().clone() for p in policy.parameters()]
    with pytest.raises(
        NonFiniteError, match=rf"step 3: reference log-prob is not .*rows \[{groups[4].row}\]; no weight"
    ):
        step_gradient(learner, Step(2, groups))
    assert learner.state == state
    assert all(torch.equal(own, before) for own, before in zip(policy.parameters(), weights, strict=True))


def test_the_first_bin_that_has_one_is_named_and_a_single_value_stands_for_its_whole_bin():
    groups = random_groups(5, k=2)
    first, second = pack(groups[:2]), pack(groups[2:])
    scored, responses = torch.zeros(len(second.target_R)), torch.zeros(second.responses)
    finite = Finite(Step(0, groups))
    finite.note("policy log-prob", torch.zeros(len(first.target_R)), first)
    finite.check()
    for name, values, place, rows in (
        ("policy log-prob", scored, -1, [4]),
        ("score", responses, 2, [3]),
        ("loss", torch.zeros(1), 0, [2, 3, 4]),
    ):
        bad = values.clone()
        bad[place] = torch.nan
        finite = Finite(Step(0, groups))
        for noted in ((name, values, second), (name, bad, second), ("loss", torch.full((1,), torch.nan), first)):
            finite.note(*noted)
        with pytest.raises(NonFiniteError) as error:
            finite.check()
        assert f"{name} is not finite in torch.float32, data rows {rows};" in str(error.value)
