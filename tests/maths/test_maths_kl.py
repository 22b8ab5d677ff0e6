"""Estimators of the KL: their means and the means of their gradients, over all tokens of a softmax."""

import pytest
import torch

from logratio.maths import kl

DRAW = torch.Generator().manual_seed(0)
LOGITS, REFERENCE = (torch.randn(6, generator=DRAW, dtype=torch.float64).log_softmax(0) for _ in range(2))


def reverse(logp):
    return (logp.exp() * (logp - REFERENCE)).sum()


def forward(logp):
    return (REFERENCE.exp() * (REFERENCE - logp)).sum()


def mean(values):
    """E over tokens drawn from the policy."""
    return (LOGITS.exp() * values).sum().item()


def mean_gradient(estimator):
    """E over drawn tokens of the gradient in the logits, the draw itself without gradient."""
    leaf = LOGITS.clone().requires_grad_()
    (found,) = torch.autograd.grad((LOGITS.exp() * estimator(leaf.log_softmax(0))).sum(), leaf)
    return found


def gradient(of):
    leaf = LOGITS.clone().requires_grad_()
    (found,) = torch.autograd.grad(of(leaf.log_softmax(0)), leaf)
    return found


def test_k1_and_k3_are_unbiased_and_k2_is_to_second_order():
    apart = LOGITS - REFERENCE
    assert mean(kl.k1(apart)) == pytest.approx(reverse(LOGITS).item(), abs=1e-15)
    assert mean(kl.k3(apart)) == pytest.approx(reverse(LOGITS).item(), abs=1e-15)
    assert abs(mean(kl.k2(apart)) - reverse(LOGITS).item()) > 1e-2
    near = (REFERENCE + 1e-3 * (LOGITS - REFERENCE)).log_softmax(0)
    exact, second = (near.exp() * (near - REFERENCE)).sum(), (near.exp() * kl.k2(near - REFERENCE)).sum()
    assert second.item() == pytest.approx(exact.item(), rel=1e-2)


def test_k2_and_k3_are_never_negative():
    apart = torch.linspace(-30, 30, 601, dtype=torch.float64)
    assert (kl.k2(apart) >= 0).all() and (kl.k3(apart) >= -1e-15).all()


def test_the_gradient_of_k1_is_zero_on_average():
    assert mean_gradient(lambda logp: kl.k1(logp - REFERENCE)).abs().max() < 1e-15


@pytest.mark.parametrize(
    ("name", "divergence", "other"), [("k2", reverse, forward), ("k3", forward, reverse), ("rho_k3", reverse, forward)]
)
def test_which_divergence_the_mean_gradient_belongs_to(name, divergence, other):
    found = mean_gradient(lambda logp: kl.estimate(name, logp, logp.detach(), REFERENCE))
    assert (found - gradient(divergence)).abs().max() < 1e-15
    assert (found - gradient(other)).abs().max() > 1e-2


def test_the_ratio_is_exactly_1_at_the_policy_that_drew():
    logp = (100 * torch.randn(1000, generator=torch.Generator().manual_seed(1))).requires_grad_()
    ratio = kl.ratio(logp, logp.detach())
    assert (ratio == 1).all()
    (slope,) = torch.autograd.grad(ratio.sum(), logp)
    assert (slope == 1).all()


def test_exponents_are_held_without_a_gradient_beyond():
    logp = torch.tensor([-500.0, 500.0], requires_grad=True)
    value = kl.ratio(logp, torch.zeros(2)).sum() + kl.k3(logp).sum()
    (slope,) = torch.autograd.grad(value, logp)
    assert value.isfinite() and slope.tolist() == [1.0, 1.0]
