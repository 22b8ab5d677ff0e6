"""Margin and effective gradient against autograd through the loss, for every pairwise objective that has them."""

import pytest
import torch

from logratio import objectives
from logratio.testing.cases import case

LOGISTIC = {
    "dpo": ({"beta": 0.3}, {"beta": 0.3, "divergence": "js"}, {"beta": 0.3, "divergence": "alpha", "alpha": 0.4}),
    "dpo_norm": ({"beta": 5.0}, {"beta": 0.5}),
    "dpop": ({"beta": 0.3, "penalty": 2.0},),
    "length_dpo": ({"beta": 0.3, "alpha": 0.2},),
    "ld_dpo": ({"beta": 0.3, "alpha": 0.5},),
    "odpo": ({"beta": 0.3, "scale": "linear"},),
    "tdpo": ({"beta": 0.3}, {"beta": 0.3, "form": "tdpo1"}),
    "wpo": ({"beta": 0.3},),
    "beta_dpo": ({"beta": 0.3, "keep": 1.0},),
    "chi_po": ({"beta": 0.3, "max_reward": 0.5},),
}
"""ℓ is w times softplus(−argument), so that −log σ and its slope tell the argument."""

SQUARED = ("ipo", "ipo_mean")

OTHERS = {
    "aot": "a pair has as many arguments as quantiles",
    "apo_down": "two sigmoids",
    "apo_zero": "two sigmoids",
    "bco_pair": "each side by itself",
    "cal_dpo": "regression beside a logistic loss",
    "discopop": "a blend, not convex",
    "dpo_d": "ties have a probability of their own",
    "dpo_rk": "ties have a probability of their own",
    "exo": "a reverse divergence",
    "hinge": "a slope of 1 or 0",
    "nca": "each side by itself",
    "reward": "scores",
    "robust_dpo": "corrected for flips",
    "ropo": "a bounded part beside",
    "sppo": "regression of each side",
}
"""Theirs is σ(−margin), as the metric's formula says, which is not the weight of their own gradient."""


def made(name, values):
    objective = objectives.load(name)
    return case(objective, objective.settings(**values), n=12)


def measured(given):
    return given.objective.metrics(given.logps(given.logp_R), given.batch, given.settings)


@pytest.mark.parametrize(("name", "values"), [(name, values) for name, own in LOGISTIC.items() for values in own])
def test_the_effective_gradient_is_the_slope_of_the_logistic_loss(name, values):
    """Of ℓ = w·softplus(−u): σ(−u) = 1 − e^{−ℓ/w}, w being 1 but where a pair is weighed."""
    given = made(name, values)
    (loss,) = given.losses(given.logp_R).values()
    found = measured(given)
    weight = found["pair_weight"].value if name == "wpo" else 1.0
    expected = 1 - torch.exp(-loss / weight)
    inside = torch.ones_like(loss, dtype=torch.bool)
    if name == "chi_po":
        inside = found["clipped"].value == 0
        assert (found["effective_gradient"].value[~inside] == 0).all() and inside.any() and not inside.all()
    torch.testing.assert_close(found["effective_gradient"].value[inside], expected[inside])
    if name in ("dpo", "dpo_norm", "wpo"):  # no offset, nor a sum of its own: the margin is the whole argument
        torch.testing.assert_close(found["margin"].value, -torch.logit(expected))


@pytest.mark.parametrize("name", SQUARED)
def test_the_effective_gradient_of_a_squared_distance_is_its_slope(name):
    """Half the slope's share of that at the reference, beyond the target too, where it points the other way."""
    given = made(name, {"tau": 1.0})
    slopes = []
    for at_R in (given.logp_R, given.batch.token["reference"].double()):
        leaf = at_R.clone().requires_grad_()
        (loss,) = given.losses(leaf).values()
        (slope,) = torch.autograd.grad(loss.sum(), leaf)
        slopes.append(given.batch.sum_by_response(slope)[given.batch.winner_E])
    found = measured(given)
    torch.testing.assert_close(found["effective_gradient"].value, (slopes[0] / slopes[1]).abs() / 2)
    (loss,) = given.losses(given.logp_R).values()
    torch.testing.assert_close((found["margin"].value - 0.5).square(), loss)
    assert (found["margin"].value > 0.5).any()


def test_every_pairwise_objective_with_an_effective_gradient_is_accounted_for():
    known = {*LOGISTIC, *SQUARED, *OTHERS}
    with_one = set()
    for name in objectives.names():
        objective = objectives.load(name)
        if objective.data == "pairs" and "effective_gradient" in measured(made(name, {})):
            with_one.add(name)
    assert with_one == known


@pytest.mark.parametrize("name", ["robust_dpo", "hinge", "exo", "ropo"])
def test_objectives_without_a_margin_of_their_own_have_beta_times_the_log_ratios(name):
    given = made(name, {"beta": 0.3})
    found = measured(given)
    expected = 0.3 * (found["logratio_chosen"].value - found["logratio_rejected"].value)
    torch.testing.assert_close(found["margin"].value, expected)
