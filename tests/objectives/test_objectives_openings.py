"""Losses that read more of a response than its sum, or more responses than two: LD-DPO and InfoNCA."""

import math

import pytest
import torch
from pair_views import close
from populations import bradley_terry, population_loss

from logratio import objectives
from logratio.batch.logps import Logps
from logratio.batch.packed import pack
from logratio.exact import gibbs
from logratio.exact.optimum import minimise
from logratio.exact.world import random_world
from logratio.objectives.info_nca import info_nca
from logratio.objectives.plackett_luce import plackett_luce
from logratio.objectives.views import opening_pairs, pairs
from worlds import random_groups


def batch_and_logps(k=2, **more):
    batch = pack(random_groups(5, k=k, seed=9, **more))
    draw = torch.Generator().manual_seed(4)
    return batch, torch.randn(len(batch.target_R), generator=draw, dtype=torch.float64) - 3


@pytest.mark.parametrize("k", [2, 4])
def test_the_opening_is_as_long_as_the_shorter_response_and_the_rest_counts_alpha(k):
    """By hand, token by token; a response has another opening in each of its pairs."""
    batch, logp_R = batch_and_logps(k)
    found = opening_pairs(Logps(logp_R), batch, rest=0.3)
    by_S = [torch.nonzero(batch.response_R == s).flatten() for s in range(batch.responses)]
    uneven = 0
    for edge, (won, lost) in enumerate(zip(batch.winner_E.tolist(), batch.loser_E.tolist(), strict=True)):
        shared = min(len(by_S[won]), len(by_S[lost]))
        uneven += len(by_S[won]) != len(by_S[lost])
        for side, response in (("chosen", won), ("rejected", lost)):
            weight = 0.3 + 0.7 * (torch.arange(len(by_S[response])) < shared).double()
            for value_R, name in ((logp_R, side), (batch.token["reference"].double(), f"reference_{side}")):
                expected = (weight * value_R[by_S[response]]).sum().item()
                assert getattr(found, name)[edge].item() == pytest.approx(expected, rel=1e-12)
    assert uneven >= 3


def test_ld_dpo_is_dpo_at_alpha_1_and_ignores_the_rest_at_0():
    batch, logp_R = batch_and_logps()
    ld, plain = objectives.load("ld_dpo"), objectives.load("dpo")
    whole = ld.losses(Logps(logp_R), batch, ld.settings(alpha=1.0))["ld_dpo"]
    close(whole, plain.losses(Logps(logp_R), batch, plain.settings())["dpo"], rtol=0, atol=1e-9)
    leaf_R = logp_R.clone().requires_grad_()
    ld.losses(Logps(leaf_R), batch, ld.settings(alpha=0.0))["ld_dpo"].sum().backward()
    view = pairs(Logps(logp_R), batch)
    rest = 0
    for edge, (won, lost) in enumerate(zip(batch.winner_E.tolist(), batch.loser_E.tolist(), strict=True)):
        shared = int(torch.minimum(view.chosen_length, view.rejected_length)[edge])
        for response in (won, lost):
            gradient = leaf_R.grad[batch.response_R == response]
            assert gradient[:shared].all() and not gradient[shared:].any()
            rest += len(gradient) - shared
    assert rest > 5


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_ld_dpo_weighs_the_reference_as_it_does_the_policy(alpha):
    """One implementation weighs the policy alone, so that the loss at the reference is not log 2."""
    batch, _ = batch_and_logps()
    objective = objectives.load("ld_dpo")
    at = Logps(batch.token["reference"].double())
    loss = objective.losses(at, batch, objective.settings(alpha=alpha))["ld_dpo"]
    close(loss, torch.full_like(loss, math.log(2)), rtol=0, atol=1e-12)
    alone = opening_pairs(at, batch, rest=alpha)
    drift = alone.chosen - alone.rejected - (pairs(at, batch).reference_chosen - pairs(at, batch).reference_rejected)
    assert drift.abs().max() > 1


def test_info_nca_of_two_responses_with_a_cold_score_is_dpo():
    """K = 2, T → 0: the one-hot target, so −log σ of the difference; plackett_luce of two is the same."""
    ratio = torch.randn(50, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 20
    score, present = torch.tensor([[2.0, 1.0]]).double().expand(50, 2), torch.ones(50, 2, dtype=torch.bool)
    loss = info_nca(ratio, score, present, beta=0.3, temperature=1e-3)
    close(loss, torch.nn.functional.softplus(-0.3 * (ratio[:, 0] - ratio[:, 1])), rtol=0, atol=3e-9)
    close(loss, plackett_luce(ratio, score, present, beta=0.3), rtol=0, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_info_nca_settles_where_log_ratios_are_scores_over_beta_and_temperature(temperature):
    """Gradient β·(softmax(βa) − softmax(s/T)): 0 at βa = s/T + a constant, where the loss is the target's entropy."""
    score = torch.tensor([[3.0, 1.0, 0.5, -1.0]], dtype=torch.float64)
    present = torch.ones(1, 4, dtype=torch.bool)
    ratio = (score / (0.2 * temperature) + 5.0).requires_grad_()
    loss = info_nca(ratio, score, present, beta=0.2, temperature=temperature)
    (slope,) = torch.autograd.grad(loss.sum(), ratio)
    target = torch.softmax(score / temperature, 1)
    assert slope.abs().max() < 1e-15
    close(loss, -(target * target.log()).sum(1), rtol=1e-13, atol=0)
    away = torch.zeros_like(score).requires_grad_()
    (slope,) = torch.autograd.grad(info_nca(away, score, present, beta=0.2, temperature=temperature).sum(), away)
    close(slope, 0.2 * (0.25 - target), rtol=1e-13, atol=1e-15)


def test_a_response_that_is_not_there_is_in_neither_softmax():
    ratio, score = torch.tensor([[1.0, -2.0, 9.0]]).double(), torch.tensor([[1.0, 0.0, 7.0]]).double()
    present = torch.tensor([[True, True, False]])
    leaf = ratio.clone().requires_grad_()
    loss = info_nca(leaf, score, present, beta=0.3, temperature=1.0)
    close(loss, info_nca(ratio[:, :2], score[:, :2], present[:, :2], beta=0.3, temperature=1.0), rtol=0, atol=1e-15)
    loss.sum().backward()
    assert leaf.grad[0, 2] == 0 and leaf.grad[0, :2].all()


def test_plain_pairs_are_soft_labels_of_sigma_of_the_inverse_temperature():
    """Scores 1 and 0: β·h = 1/T at the minimum on certain labels, where DPO would go on for ever."""
    world = random_world(1, prompts=1, responses=2)
    certain = bradley_terry(world)
    ratio = torch.tensor([[1 / 0.3 / 0.5, 0.0]], dtype=torch.float64, requires_grad=True)
    score, present = torch.tensor([[1.0, 0.0]]).double(), torch.ones(1, 2, dtype=torch.bool)
    (slope,) = torch.autograd.grad(info_nca(ratio, score, present, beta=0.3, temperature=0.5).sum(), ratio)
    assert slope.abs().max() < 1e-15
    cold = minimise(population_loss("info_nca", world, certain, beta=0.5, temperature=1e-3), world.reference_XY)
    close(cold.policy_XY.exp(), gibbs.optimum(world, 0.5).exp(), rtol=0, atol=1e-9)
