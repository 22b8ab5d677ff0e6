"""Losses made for noisy labels: rDPO's unbiasedness, and what flips do to each optimum."""

import math

import pytest
import torch
from pair_views import H, close, margins

from logratio.objectives.dpo import dpo
from logratio.objectives.ipo import ipo
from logratio.objectives.robust_dpo import robust_dpo
from logratio.objectives.views import expected


def slope_at(u, loss, probability):
    """The gradient at margin u (β = 1) of the loss expected over labels that say `probability`."""
    h = torch.tensor([u], dtype=torch.float64, requires_grad=True)
    expected(margins_of(h, probability), loss).sum().backward()
    return h.grad.item()


def margins_of(h, probability):
    pairs = margins(h.detach(), probability=probability)
    return type(pairs)(**{**vars(pairs), "chosen": h / 4 - 7, "rejected": -3 * h / 4 - 5})


@pytest.mark.parametrize("flip_rate", [0.05, 0.2, 0.45])
def test_over_flips_robust_dpo_is_the_clean_loss_exactly(flip_rate):
    """(1−ε)·ℓ(u) + ε·ℓ(−u) = −log σ(u), for every u."""
    straight, flipped = (robust_dpo(margins(side * H), beta=0.3, flip_rate=flip_rate) for side in (1, -1))
    close((1 - flip_rate) * straight + flip_rate * flipped, -torch.log(torch.sigmoid(0.3 * H)), rtol=0, atol=2e-12)


def test_without_flips_robust_dpo_is_dpo():
    close(robust_dpo(margins(H), beta=0.3, flip_rate=0.0), dpo(margins(H), beta=0.3), rtol=0, atol=0)


def test_robust_dpo_is_unbounded_below_with_the_slope_of_its_correction():
    loss = robust_dpo(margins([400.0, 500.0]), beta=1.0, flip_rate=0.1)
    assert (loss < 0).all()
    assert (loss[1] - loss[0]).item() == pytest.approx(-100 * 0.1 / 0.8, rel=1e-12)


def test_an_example_of_20_percent_flips_at_80_percent_preference():
    """p = .8, ε = .2, so labels say .68: clean 1.386, DPO .754, conservative DPO .439, robust DPO 1.386."""
    clean, seen = 0.8, 0.8 * 0.8 + 0.2 * 0.2
    smoothed = 0.8 * seen + 0.2 * (1 - seen)
    optima = {
        "clean": (math.log(clean / (1 - clean)), clean, lambda pairs: dpo(pairs, beta=1.0)),
        "dpo": (math.log(seen / (1 - seen)), seen, lambda pairs: dpo(pairs, beta=1.0)),
        "smoothed": (
            math.log(smoothed / (1 - smoothed)),
            seen,
            lambda pairs: dpo(pairs, beta=1.0, label_smoothing=0.2),
        ),
        "robust": (
            math.log(clean / (1 - clean)),
            seen,
            lambda pairs: robust_dpo(pairs, beta=1.0, flip_rate=0.2),
        ),
    }
    assert [round(u, 3) for u, _, _ in optima.values()] == [1.386, 0.754, 0.439, 1.386]
    for u, probability, loss in optima.values():
        assert abs(slope_at(u, loss, probability)) < 1e-12
        assert slope_at(u - 0.1, loss, probability) < -1e-3 and slope_at(u + 0.1, loss, probability) > 1e-3


@pytest.mark.parametrize("probability", [0.5, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("tau", [0.1, 0.7])
def test_the_margin_that_ipo_aims_at_is_linear_in_the_preference(probability, tau):
    """h* = (p − ½)/τ; flips at rate ε shrink it to (1 − 2ε)·h*."""

    def loss(pairs):
        return ipo(pairs, tau=tau)

    best = (probability - 0.5) / tau
    assert abs(slope_at(best, loss, probability)) < 1e-12
    flipped = 0.9 * probability + 0.1 * (1 - probability)
    assert abs(slope_at(0.8 * best, loss, flipped)) < 1e-12


def test_ipo_has_no_beta_inside_the_margin():
    """With one, (βh − 1/(2β))² would aim at 1/(2β²): 50 nats at β = 0.1, where the printed formula aims at 5."""
    target = 1 / (2 * 0.1)
    h = torch.tensor([target, 1 / (2 * 0.1**2)], dtype=torch.float64)
    close(ipo(margins(h), tau=0.1), [0.0, 45.0**2])
    assert abs(slope_at(target, lambda pairs: ipo(pairs, tau=0.1), 1.0)) < 1e-12


def test_ipo_on_two_answers_and_a_uniform_reference_ends_at_the_sigmoid_of_its_target():
    """π(y⁺) = σ(1/(2τ)): gradient descent on a tabular policy."""
    tau, logits = 0.5, torch.zeros(2, dtype=torch.float64, requires_grad=True)
    for _ in range(200):
        logp = torch.log_softmax(logits, 0)
        pairs = margins(torch.zeros(1, dtype=torch.float64))
        pairs = type(pairs)(**{**vars(pairs), "chosen": logp[:1] - 7 - math.log(0.5), "rejected": logp[1:] - 5})
        pairs = type(pairs)(**{**vars(pairs), "reference_rejected": pairs.reference_rejected + math.log(0.5)})
        (slope,) = torch.autograd.grad(ipo(pairs, tau=tau).sum(), logits)
        logits = (logits - 0.2 * slope).detach().requires_grad_()
    assert torch.softmax(logits, 0)[0].item() == pytest.approx(1 / (1 + math.exp(-1 / (2 * tau))), abs=1e-10)


def test_the_gradient_of_ipo_is_twice_the_distance():
    h = torch.linspace(-9, 9, 13, dtype=torch.float64)
    for u in h.tolist():
        assert slope_at(u, lambda pairs: ipo(pairs, tau=0.2), 1.0) == pytest.approx(2 * (u - 2.5), abs=1e-12)
