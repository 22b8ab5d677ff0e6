"""Metrics of pairs and of the gradient in closed form."""

import math

import numpy as np
import pytest
import torch
from pair_views import margins

from logratio import objectives
from logratio.batch.logps import Logps
from logratio.batch.packed import pack
from logratio.metrics import SATURATED
from logratio.objectives.metrics import margin_metrics, pair_metrics, raising
from worlds import random_groups


def sigma(x):
    return 1 / (1 + math.exp(-x))


def test_what_the_logistic_function_makes_of_margins():
    edge = math.log(1 / SATURATED - 1)  # where σ(−m) is just that
    margin = torch.tensor([0.0, 2.0, -2.0, edge - 1e-6, edge + 1e-6], dtype=torch.float64)
    found = {name: metric.value.tolist() for name, metric in margin_metrics(margin).items()}
    assert found["effective_gradient"][:3] == pytest.approx([0.5, sigma(-2), sigma(2)])
    assert found["confidence"][:3] == pytest.approx([0.5, sigma(2), sigma(2)])
    assert found["saturated"] == [0, 0, 0, 0, 1]


def test_log_probs_per_token_are_weighed_by_length():
    pairs = margins([4.0, 0.0], lengths=(2.0, 5.0))
    found = pair_metrics(pairs, beta=0.5)
    total, count = found["logp_chosen_per_token"].total()
    assert (total / count).item() == pytest.approx((pairs.chosen.sum() / 4).item())
    total, count = found["logp_rejected_per_token"].total()
    assert (total / count).item() == pytest.approx((pairs.rejected.sum() / 10).item())


def test_kl_at_the_data_is_half_the_squared_log_ratio_and_leaves_borrowed_responses_out():
    for name, shape in (("dpo", {}), ("kto", {"k": 1, "labels": True, "mismatched": True})):
        objective, batch = objectives.load(name), pack(random_groups(6, **shape))
        ratio_R = torch.linspace(-2, 1, len(batch.target_R), dtype=torch.float64)
        logps = Logps(batch.token["reference"].double() + ratio_R)
        total, count = objective.measured(logps, batch, objective.settings())["kl_data"].total()
        own_R = 1 - batch.response.get("mismatched", torch.zeros(batch.responses))[batch.response_R].double()
        assert (total / count).item() == pytest.approx(((ratio_R**2 / 2 * own_R).sum() / own_R.sum()).item())
        assert (own_R == 0).any() == (name == "kto")


def test_kl_at_the_data_is_the_kl_to_second_order():
    """Tokens drawn from the reference: the mean of ½(log π/π_ref)² tends to KL(π_ref‖π) as the two come together."""
    draw = np.random.default_rng(0)
    reference = torch.tensor(draw.dirichlet(np.ones(9)))
    for size, bound in ((0.1, 0.1), (0.01, 0.01)):
        policy = torch.softmax(reference.log() + size * torch.tensor(draw.standard_normal(9)), 0)
        ratio = (policy / reference).log()
        kl = -(reference * ratio).sum().item()
        assert (reference * ratio**2 / 2).sum().item() == pytest.approx(kl, rel=bound)


def test_the_raising_share_is_that_of_the_gradient_on_the_tokens_own_logits():
    """By autograd through log-softmax, where a token's logit is moved by ∂ℓ/∂log π · (1 − π)."""
    logits = torch.randn(6, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    target, slope = torch.arange(6), torch.tensor([-1.0, -0.5, 0.0, 0.25, 2.0, -0.1], dtype=torch.float64)
    logp = logits.log_softmax(-1)[torch.arange(6), target]
    (own,) = torch.autograd.grad((slope * logp).sum(), logits)
    own = own[torch.arange(6), target]
    up, every = raising(slope, logp)
    assert up.item() == pytest.approx(-own[own < 0].sum().item()) and every.item() == pytest.approx(
        own.abs().sum().item()
    )


def test_a_demonstration_is_only_raised():
    up, every = raising(torch.full((5,), -0.2), torch.linspace(-3, -0.1, 5))
    assert up == every > 0
