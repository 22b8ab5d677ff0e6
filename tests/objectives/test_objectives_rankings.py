"""Whole rankings: Plackett–Luce and RRHF."""

import itertools
import math

import pytest
import torch
from pair_views import H, close, margins

from logratio import objectives
from logratio.batch.logps import Logps
from logratio.batch.packed import pack
from logratio.objectives.dpo import dpo
from logratio.objectives.plackett_luce import plackett_luce
from logratio.objectives.rrhf import imitation, rrhf
from worlds import random_groups

A = torch.tensor([0.7, -1.2, 2.5, 0.1], dtype=torch.float64)
HERE = torch.ones(1, 4, dtype=torch.bool)


def ranked(order, *, beta=0.8):
    """Probability of an order of the four responses, best first."""
    score = torch.zeros(1, 4, dtype=torch.float64)
    for place, response in enumerate(order):
        score[0, response] = -place
    return math.exp(-plackett_luce(A[None], score, HERE, beta=beta).item())


def test_two_responses_are_dpo():
    pairs = margins(H)
    logratio = torch.stack((pairs.chosen_logratio, pairs.rejected_logratio), 1)
    score = torch.tensor([[1.0, 0.0]]).expand(81, 2)
    loss = plackett_luce(logratio, score, torch.ones(81, 2, dtype=torch.bool), beta=0.3)
    close(loss, dpo(pairs, beta=0.3), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("count", [2, 3, 6])
def test_at_the_reference_it_is_log_k_factorial(count):
    loss = plackett_luce(
        torch.zeros(1, count, dtype=torch.float64),
        torch.arange(count)[None].double(),
        torch.ones(1, count, dtype=torch.bool),
        beta=0.1,
    )
    assert loss.item() == pytest.approx(math.log(math.factorial(count)), rel=1e-14)


def test_the_probabilities_of_all_orders_sum_to_one_and_their_marginals_are_bradley_terry():
    probability = {order: ranked(order) for order in itertools.permutations(range(4))}
    assert sum(probability.values()) == pytest.approx(1, abs=1e-14)
    for i, j in itertools.permutations(range(4), 2):
        before = sum(p for order, p in probability.items() if order.index(i) < order.index(j))
        assert before == pytest.approx(1 / (1 + math.exp(-0.8 * (A[i] - A[j]).item())), abs=1e-14)


def test_a_response_that_is_not_there_is_in_no_denominator():
    logratio = torch.tensor([[0.7, -1.2, 99.0]], dtype=torch.float64)
    score = torch.tensor([[2.0, 1.0, 0.0]])
    loss = plackett_luce(logratio, score, torch.tensor([[True, True, False]]), beta=0.8)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-0.8 * 1.9)), rel=1e-12)


def test_pairs_in_order_and_ties_cost_nothing():
    """Silent-bug list, losses 22: ties must not be ranked by where they stand."""
    mean = torch.tensor([[-1.0, -2.0, -3.0], [-3.0, -1.0, -2.0], [-3.0, -1.0, -2.0]], dtype=torch.float64)
    score = torch.tensor([[3.0, 2.0, 1.0], [5.0, 5.0, 5.0], [5.0, 5.0, 1.0]])
    present = torch.ones(3, 3, dtype=torch.bool)
    close(rrhf(mean, score, present), [0.0, 0.0, 1.0])  # in the third, the last is worse than both and above one
    for order in itertools.permutations(range(3)):
        close(rrhf(mean[:, order], score[:, order], present), [0.0, 0.0, 1.0])


def test_rrhf_is_the_written_out_sum_with_a_gradient_of_plus_and_minus_one_for_each_wrong_pair():
    draw = torch.Generator().manual_seed(5)
    mean = torch.randn(6, 5, generator=draw, dtype=torch.float64, requires_grad=True)
    score = torch.randint(0, 3, (6, 5), generator=draw).double()
    present = torch.rand(6, 5, generator=draw) < 0.8
    expected, slope = torch.zeros(6, dtype=torch.float64), torch.zeros(6, 5, dtype=torch.float64)
    for g, i, j in itertools.product(range(6), range(5), range(5)):
        if present[g, i] and present[g, j] and score[g, i] < score[g, j] and mean[g, i] > mean[g, j]:
            expected[g] += (mean[g, i] - mean[g, j]).item()
            slope[g, i] += 1
            slope[g, j] -= 1
    loss = rrhf(mean, score, present)
    close(loss.detach(), expected, rtol=1e-12, atol=1e-12)
    close(torch.autograd.grad(loss.sum(), mean)[0], slope)


def test_each_prompt_s_own_best_response_is_imitated():
    """One implementation indexes the first prompt's alone."""
    mean = torch.tensor([[-1.0, -2.0], [-3.0, -4.0], [-5.0, -6.0]], dtype=torch.float64)
    score = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 9.0]])
    present = torch.tensor([[True, True], [True, True], [True, False]])
    close(imitation(mean, score, present), [1.0, 4.0, 5.0])


def test_the_lengths_of_rrhf_are_those_of_responses():
    """One implementation divides by the padded width, prompt included; these are means over each response's tokens."""
    batch = pack(random_groups(5, k=4, scores=True, seed=6))
    objective = objectives.load("rrhf")
    logp_R = batch.token["reference"].double()
    losses = objective.losses(Logps(logp_R), batch, objective.settings())
    mean = torch.stack([logp_R[batch.response_R == s].mean() for s in range(20)]).view(5, 4)
    score = batch.response["score"].view(5, 4)
    here = torch.ones(5, 4, dtype=torch.bool)
    close(losses["rrhf"], rrhf(mean, score, here), rtol=1e-6, atol=1e-9)
    close(losses["imitation"], imitation(mean, score, here), rtol=1e-6, atol=1e-9)
    assert losses["rrhf"].sum() > 0.1
