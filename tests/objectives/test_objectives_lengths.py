"""Losses in which length counts: means per token, and a price on tokens."""

import math

import pytest
import torch
from pair_views import H, close, margins, slopes, sums

from logratio import objectives
from logratio.batch.logps import Logps
from logratio.batch.packed import pack
from logratio.objectives.alphapo import alphapo, shaped
from logratio.objectives.dpo import dpo
from logratio.objectives.dpo_norm import dpo_norm
from logratio.objectives.ipo import ipo
from logratio.objectives.ipo_mean import ipo_mean
from logratio.objectives.length_dpo import length_dpo
from logratio.objectives.simpo import simpo
from worlds import random_groups

LENGTHS = (5.0, 20.0)
CHOSEN = torch.linspace(-60, -0.5, 40, dtype=torch.float64)
SIMPO = {"beta": 2.0, "gamma_beta_ratio": 0.4}


def test_simpo_is_softplus_of_gamma_where_both_means_are_equal():
    loss = simpo(sums([-10.0, -30.0], [-40.0, -120.0], lengths=LENGTHS), **SIMPO)
    close(loss, [math.log1p(math.exp(0.8))] * 2, rtol=1e-14, atol=0)


def test_the_gradient_of_simpo_is_divided_by_the_response_s_own_length():
    """∂ℓ/∂S⁺ = −β·σ(−z)/|y⁺|, ∂ℓ/∂S⁻ = +β·σ(−z)/|y⁻|, z = β(m⁺ − m⁻) − γ."""
    pairs = sums(CHOSEN, -24.0, lengths=LENGTHS)
    up, down = slopes(simpo(pairs, **SIMPO), pairs)
    pull = 2.0 * torch.sigmoid(-(2.0 * (CHOSEN / 5 + 24 / 20) - 0.8))
    close(up, -pull / 5, rtol=3e-9, atol=0)  # softplus is linear beyond 20, e⁻²⁰ off
    close(down, pull / 20, rtol=3e-9, atol=0)


def test_a_certain_token_counts_in_the_length():
    """One implementation counts tokens whose term is not 0, so that it divides by 0 at the reference (NaN) and by too
    little where a token has probability 1. Lengths here are of the mask.
    """
    batch = pack(random_groups(5, k=2, seed=4))
    logp_R = batch.token["reference"].double().clone()
    logp_R[::3] = 0.0
    for name in ("simpo", "ipo_mean", "dpo_norm"):
        objective = objectives.load(name)
        settings = objective.settings()
        loss = objective.losses(Logps(logp_R), batch, settings)[name]
        mean_S = [logp_R[batch.response_R == s].mean() for s in range(batch.responses)]
        base_S = [batch.token["reference"].double()[batch.response_R == s].mean() for s in range(batch.responses)]
        won, lost = batch.winner_E.tolist(), batch.loser_E.tolist()
        by_hand = {
            "simpo": lambda w, m, b: math.log1p(math.exp(-2.0 * (m[w[0]] - m[w[1]] - 0.5))),
            "ipo_mean": lambda w, m, b: (m[w[0]] - b[w[0]] - m[w[1]] + b[w[1]] - 5.0) ** 2,
            "dpo_norm": lambda w, m, b: math.log1p(math.exp(-5.0 * (m[w[0]] - b[w[0]] - m[w[1]] + b[w[1]]))),
        }[name]
        expected = [float(by_hand(pair, mean_S, base_S)) for pair in zip(won, lost, strict=True)]
        close(loss, expected, rtol=1e-6, atol=1e-9)
        at_reference = objective.losses(Logps(batch.token["reference"]), batch, settings)[name]
        assert at_reference.isfinite().all()


def test_ipo_comes_on_sums_and_on_means_and_both_names_keep_their_word():
    """Silent-bug list, losses 18: one name for both. They agree on one-token responses alone."""
    close(ipo(margins(H), tau=0.3), ipo_mean(margins(H), tau=0.3))
    far = margins(H, lengths=LENGTHS)
    close(ipo(far, tau=0.3), ipo(margins(H), tau=0.3))
    mean = far.chosen_logratio / 5 - far.rejected_logratio / 20
    close(ipo_mean(far, tau=0.3), (mean - 1 / 0.6).square())
    assert (ipo_mean(far, tau=0.3) - ipo(far, tau=0.3)).abs().max() > 1


@pytest.mark.parametrize("length", [1.0, 7.0])
def test_at_equal_lengths_dpo_norm_is_dpo_with_beta_by_the_token(length):
    close(dpo_norm(margins(H, lengths=(length, length)), beta=5.0), dpo(margins(H), beta=5.0 / length))


def test_dpo_norm_pulls_each_side_by_its_own_length():
    pairs = margins(H, lengths=LENGTHS)
    up, down = slopes(dpo_norm(pairs, beta=2.0), pairs)
    close(up / down, torch.full_like(H, -20 / 5), rtol=1e-9, atol=0)


def test_a_positive_price_asks_less_of_a_pair_whose_chosen_response_is_longer():
    """u + α·(|y⁺| − |y⁻|), with a plus: the sign that max E[r] − α·E|y| − β·KL gives."""
    longer, shorter = (length_dpo(margins(H, lengths=side), beta=0.1, alpha=0.2) for side in (LENGTHS[::-1], LENGTHS))
    plain = dpo(margins(H), beta=0.1)
    assert (longer < plain).all() and (shorter > plain).all()
    close(longer, dpo(margins(H + 0.2 * 15 / 0.1), beta=0.1))
    close(length_dpo(margins(H, lengths=LENGTHS), beta=0.1, alpha=0.0), plain)


def test_the_optimum_of_length_dpo_is_that_of_the_priced_reward():
    """Two answers, uniform reference, preference p: π ∝ exp((r − α|y|)/β) makes the loss stationary."""
    beta, alpha, p = 0.5, 0.03, 0.7
    reward = math.log(p / (1 - p))
    h = (reward - alpha * (5 - 20)) / beta
    pairs = margins([h], lengths=LENGTHS)
    swapped = margins([-h], lengths=LENGTHS[::-1])
    own, other = (slopes(length_dpo(view, beta=beta, alpha=alpha), view)[0] for view in (pairs, swapped))
    assert abs(p * own - (1 - p) * other).item() < 1e-12


def test_alphapo_tends_to_simpo_and_is_simpo_at_zero():
    pairs = sums(CHOSEN, -24.0, lengths=LENGTHS)
    expected = simpo(pairs, **SIMPO)
    close(alphapo(pairs, alpha=0.0, **SIMPO), expected, rtol=0, atol=0)
    for alpha in (1e-12, -1e-12, 1e-9):  # 1 − e^x written out would lose all digits here
        close(alphapo(pairs, alpha=alpha, **SIMPO), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("alpha", [0.25, -0.5])
def test_the_reward_of_alphapo_has_its_value_and_slope(alpha):
    mean = torch.linspace(-8, 0, 30, dtype=torch.float64, requires_grad=True)
    reward = shaped(mean, alpha)
    close(reward.detach(), (1 - torch.exp(mean.detach()) ** -alpha) / alpha, rtol=1e-9, atol=1e-12)
    (slope,) = torch.autograd.grad(reward.sum(), mean)
    close(slope, torch.exp(-alpha * mean.detach()), rtol=1e-12, atol=0)


def test_alphapo_is_softplus_of_gamma_where_both_means_are_equal_for_every_shape():
    for alpha in (-1.0, 0.0, 0.25, 2.0):
        loss = alphapo(sums([-10.0], [-40.0], lengths=LENGTHS), alpha=alpha, **SIMPO)
        close(loss, [math.log1p(math.exp(0.8))], rtol=1e-12, atol=0)


def test_what_alphapo_holds_is_counted():
    batch = pack(random_groups(4, k=2, seed=1))
    objective = objectives.load("alphapo")
    settings = objective.settings(alpha=2.0)
    logp_R = torch.full((len(batch.target_R),), -3.0)
    assert objective.metrics(Logps(logp_R), batch, settings)["held"].value.sum() == 0
    logp_R[batch.response_R == batch.winner_E[1]] = -16.0
    assert objective.metrics(Logps(logp_R), batch, settings)["held"].value.tolist() == [0, 1, 0, 0]
