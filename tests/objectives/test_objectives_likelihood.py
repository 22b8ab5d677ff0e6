"""Losses without a reference: imitation, unlikelihood, odds, hinges; and the supervised term beside others."""

import math

import pytest
import torch
from pair_views import H, close, margins, slopes, sums

from logratio import objectives
from logratio.batch.logps import Logps
from logratio.batch.packed import pack
from logratio.objectives.cpo import cpo
from logratio.objectives.dpo import dpo
from logratio.objectives.orpo import log_odds, orpo
from logratio.objectives.sft import sft
from logratio.objectives.slic import slic
from logratio.objectives.unlikelihood import unlikelihood
from worlds import random_groups

LENGTHS = (4.0, 9.0)
CHOSEN = torch.linspace(-40, -0.5, 31, dtype=torch.float64)
REJECTED = torch.linspace(-1, -50, 31, dtype=torch.float64)


def test_sft_is_the_negative_log_likelihood_of_each_token():
    logp_R = torch.linspace(-5, 0, 11, requires_grad=True)
    loss_R = sft(logp_R)
    close(loss_R.detach(), -logp_R.detach())
    assert torch.autograd.grad(loss_R.sum(), logp_R)[0].tolist() == [-1.0] * 11


def test_unlikelihood_pulls_with_constant_force_and_has_no_floor():
    pairs = sums(CHOSEN, REJECTED)
    up, down = slopes(unlikelihood(pairs, alpha=0.3), pairs)
    close(up, [-1.0] * 31)
    close(down, [0.3] * 31)
    assert unlikelihood(sums([0.0], [-1e6]), alpha=0.3).item() == pytest.approx(-3e5)
    close(unlikelihood(pairs, alpha=0.0), -CHOSEN)


@pytest.mark.parametrize("level", [-3.0, -80.0])
def test_cpo_is_dpo_with_a_uniform_reference_beside_imitation(level):
    pairs = sums(CHOSEN, REJECTED)
    uniform = torch.full_like(CHOSEN, level)
    with_reference = type(margins(H))(**vars(pairs), reference_chosen=uniform, reference_rejected=uniform)
    close(cpo(pairs, beta=0.3, alpha=0.0), dpo(with_reference, beta=0.3), rtol=1e-12, atol=1e-12)
    close(cpo(pairs, beta=0.3, alpha=0.7) - cpo(pairs, beta=0.3, alpha=0.0), -0.7 * CHOSEN, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loss", [lambda p, a: cpo(p, beta=0.3, alpha=a), lambda p, a: slic(p, delta=1.0, weight=a)])
def test_the_weight_of_imitation_weighs_imitation_and_nothing_else(loss):
    """Silent-bug list, losses 19: a weight on the wrong term."""
    pairs = sums(CHOSEN, REJECTED)
    (none, down), (half, same) = slopes(loss(pairs, 0.0), pairs), slopes(loss(pairs, 0.5), pairs)
    close(half, none - 0.5)
    close(same, down, rtol=0, atol=0)


def test_slic_has_no_gradient_beyond_its_margin_but_imitation():
    pairs = sums([-5.0, -5.0, -5.0], [-5.5, -5.999, -6.001])
    up, down = slopes(slic(pairs, delta=1.0, weight=0.1), pairs)
    close(up, [-1.1, -1.1, -0.1])
    close(down, [1.0, 1.0, 0.0])
    close(slic(pairs, delta=1.0, weight=0.1), [0.5 + 0.5, 0.001 + 0.5, 0.5])


@pytest.mark.parametrize("count", [1, 2, 7])
def test_slic_is_one_number_a_pair_at_every_batch_size(count):
    """One implementation adds a hinge per pair to a likelihood per token, so that only a batch of one pair works."""
    groups = random_groups(7, k=2, seed=3)
    objective = objectives.load("slic")
    seen = pack(groups[:count])
    loss = objective.losses(Logps(seen.token["reference"]), seen, objective.settings())["slic"]
    everything = pack(groups)
    whole = objective.losses(Logps(everything.token["reference"]), everything, objective.settings())["slic"]
    assert loss.shape == (count,)
    close(loss, whole[:count])


def test_log_odds_are_exact_from_certainty_to_impossibility():
    """Silent-bug list, losses 20: log(1.0001 − P) instead, or log1p(−e^m) near 0, lose the odds of likely sequences."""
    for p in (1e-30, 1e-3, 0.3, 0.5, 0.9, 0.999, 0.99999):
        mean = math.log(p)
        expected = mean - math.log(-math.expm1(mean))
        assert log_odds(torch.tensor(mean, dtype=torch.float64)).item() == pytest.approx(expected, rel=1e-12, abs=1e-13)
        assert log_odds(torch.tensor(mean)).item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    biased = math.log(0.9999) - math.log(1.0001 - 0.9999)
    assert abs(biased - log_odds(torch.tensor(math.log(0.9999), dtype=torch.float64)).item()) > 0.6


def test_a_certain_sequence_is_guarded():
    mean = torch.tensor([0.0, -1e-9], requires_grad=True)
    odds = log_odds(mean)
    odds.sum().backward()
    assert odds.isfinite().all() and mean.grad.tolist() == [0.0, 0.0]
    close(odds.detach(), [-math.log(1e-6)] * 2, rtol=1e-5, atol=0)


def test_the_gradient_of_the_odds_ratio_is_the_closed_form():
    """∂L_OR/∂m⁺ = −δ/(1 − P⁺) and ∂L_OR/∂m⁻ = +δ/(1 − P⁻), δ = 1/(1 + odds⁺/odds⁻); imitation adds −1 to the first."""
    pairs = sums(CHOSEN, REJECTED, lengths=LENGTHS)
    up, down = slopes(orpo(pairs, weight=0.3), pairs)
    won, lost = torch.exp(CHOSEN / 4), torch.exp(REJECTED / 9)
    delta = 1 / (1 + (won / (1 - won)) / (lost / (1 - lost)))
    close(up * 4, -1 - 0.3 * delta / (1 - won), rtol=3e-9, atol=0)
    close(down * 9, 0.3 * delta / (1 - lost), rtol=3e-9, atol=0)


def test_where_both_odds_are_equal_orpo_is_the_likelihood_and_lambda_log_2():
    close(orpo(sums([-8.0], [-18.0], lengths=LENGTHS), weight=0.3), [2.0 + 0.3 * math.log(2)])


def test_every_token_of_both_responses_receives_the_gradient_of_orpo():
    """Silent-bug list, losses 20: a forward pass outside automatic differentiation gives exactly zero."""
    batch = pack(random_groups(5, k=2, seed=8))
    objective = objectives.load("orpo")
    logp_R = (batch.token["reference"].double() - 1).requires_grad_()
    objective.losses(Logps(logp_R), batch, objective.settings())["orpo"].sum().backward()
    won_R = torch.isin(batch.response_R, batch.winner_E)
    assert (logp_R.grad[won_R] < 0).all() and (logp_R.grad[~won_R] > 0).all()


def sft_term(name, groups, logp_R, **settings):
    objective = objectives.load(name)
    losses = objective.losses(Logps(logp_R), pack(groups), objective.settings(**settings))
    terms = objective.terms(objective.settings(**settings))
    assert terms["sft"].unit == "edge"
    return terms["sft"].coefficient * losses["sft"]


@pytest.mark.parametrize("name", ["dpo", "simpo", "ipo", "dpo_norm"])
def test_the_supervised_term_is_the_mean_over_each_chosen_response_s_own_tokens(name):
    """Silent-bug list, losses 19: divided by length once, not twice, whatever the length-normalisation beside it."""
    groups = random_groups(6, k=2, seed=2)
    batch = pack(groups)
    logp_R = batch.token["reference"].double() - 0.3
    by_hand = [-logp_R[batch.response_R == s].mean().item() for s in batch.winner_E.tolist()]
    close(sft_term(name, groups, logp_R, sft_weight=0.4), [0.4 * value for value in by_hand], rtol=1e-9, atol=1e-9)
    length_E = batch.length_S[batch.winner_E]
    assert len(length_E.unique()) > 2
    constant_R = torch.full_like(logp_R, -1.7)
    close(sft_term(name, groups, constant_R, sft_weight=1.0), [1.7] * 6)  # neither sums nor 1/|y| would be equal


def test_without_its_weight_there_is_no_supervised_term_and_imitators_are_not_offered_one():
    for name in objectives.names():
        objective = objectives.load(name)
        offered = "sft_weight" in objective.settings.model_fields
        predicts = objective.needs(objective.settings()).head == "lm"
        assert offered == (objective.data == "pairs" and not objective.supervised and predicts)
        if offered:
            assert "sft" not in objective.terms(objective.settings())
