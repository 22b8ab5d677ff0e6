"""The reward objective's own facts: likelihood of preferences, margin, centring, weighting, soft labels, metrics."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from logratio import objectives
from logratio.batch.group import Group
from logratio.batch.logps import Logps
from logratio.batch.packed import pack
from logratio.objectives.reward import RewardSettings, reward
from logratio.objectives.views import ScoredPairs, scores
from logratio.testing.worlds import random_groups, with_edges

OBJECTIVE = objectives.load("reward")


def column(*values):
    return torch.tensor(values, dtype=torch.float64)


def pairs(chosen, rejected):
    return ScoredPairs(chosen, rejected, torch.ones_like(chosen))


def losses(groups, score_S, **settings):
    batch = pack(groups)
    return OBJECTIVE.losses(Logps(score_S[:0], score_S=score_S), batch, RewardSettings(**settings))["reward"]


def metrics(groups, score_S):
    return OBJECTIVE.metrics(Logps(score_S[:0], score_S=score_S), pack(groups), RewardSettings())


def test_values_and_gradient_are_those_of_the_formula():
    chosen, rejected = column(1.0, -2.0, 0.3).requires_grad_(), column(0.2, 1.5, 0.3).requires_grad_()
    margin = column(1.0, 2 / 3, 0.0)
    loss = reward(pairs(chosen, rejected), margin, centring=0.01, margin_scale=0.5)
    by_hand = [
        math.log1p(math.exp(-(c - r - 0.5 * m))) + 0.01 * (c + r) ** 2
        for c, r, m in zip(chosen.tolist(), rejected.tolist(), margin.tolist(), strict=True)
    ]
    assert_close(loss, column(*by_hand))
    loss.sum().backward()
    miss = torch.sigmoid(0.5 * margin - (chosen - rejected)).detach()
    pull = (0.02 * (chosen + rejected)).detach()
    assert_close(chosen.grad, -miss + pull)
    assert_close(rejected.grad, miss + pull)


def test_at_equal_scores_of_0_it_is_ln_2_and_with_a_margin_softplus_of_it():
    zero = column(0.0)
    assert reward(pairs(zero, zero), column(3.0), centring=0.01, margin_scale=0.0).item() == pytest.approx(math.log(2))
    with_margin = reward(pairs(zero, zero), column(3.0), centring=0.01, margin_scale=1.0)
    assert with_margin.item() == pytest.approx(math.log1p(math.exp(3)))


def test_the_likelihood_alone_is_minimised_where_differences_are_the_log_odds_and_centring_sums_them_to_0():
    """Three responses, every ordered pair weighed by its Bradley–Terry probability."""
    truth = column(1.2, 0.1, -0.9)
    won, lost = torch.tensor([(i, j) for i in range(3) for j in range(3) if i != j]).T
    weight = torch.sigmoid(truth[won] - truth[lost])
    for centring, shift in ((0.0, 7.0), (1e-9, 7.0)):
        score = (torch.zeros(3, dtype=torch.float64) + shift).requires_grad_()
        steps = torch.optim.LBFGS([score], max_iter=300, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

        def closure(score=score, centring=centring, steps=steps):
            steps.zero_grad()
            loss = reward(pairs(score[won], score[lost]), torch.zeros(6), centring=centring, margin_scale=0.0)
            total = (weight * loss).sum() * (1e4 if centring else 1)
            total.backward()
            return total

        steps.step(closure)
        assert_close(score.detach() - score.detach().mean(), truth - truth.mean(), rtol=0, atol=1e-4)
        if not centring:
            assert score.mean().item() == pytest.approx(shift, abs=1e-9)  # nothing says where 0 is
    held = column(*[7.0 + t for t in truth.tolist()]).requires_grad_()
    reward(pairs(held[won], held[lost]), torch.zeros(6), centring=0.01, margin_scale=0.0).sum().backward()
    assert held.grad.sum().item() > 0.5  # and centring pulls down what lies above it


def test_a_soft_label_is_the_expectation_over_labels():
    groups = random_groups(5, k=2)
    score_S = torch.linspace(-2, 2, 10, dtype=torch.float64)
    soft = losses(with_edges(groups, probability=0.7), score_S)
    plain, swapped = losses(groups, score_S), losses(groups, score_S.view(5, 2).flip(1).reshape(-1))
    assert_close(soft, 0.7 * plain + 0.3 * swapped, rtol=1e-6, atol=1e-6)


def test_every_comparison_of_a_prompt_is_one_item():
    """K = 4 in one group: C(4, 2) = 6 losses, each response scored once."""
    groups = random_groups(3, k=4, scores=True)
    loss = losses(groups, torch.randn(12, dtype=torch.float64))
    assert loss.shape == (18,) and len(pack(groups).tokens_T) == sum(group.tokens for group in groups)


def test_margins_count_only_where_a_scale_is_given():
    groups = random_groups(4, k=2)
    score_S = torch.randn(8, dtype=torch.float64)
    strong = with_edges(groups, margin=5.0)
    assert torch.equal(losses(groups, score_S), losses(strong, score_S))
    assert (losses(strong, score_S, margin_scale=1.0) > losses(strong, score_S)).all()
    assert not OBJECTIVE.needs(RewardSettings()).margin and OBJECTIVE.needs(RewardSettings(margin_scale=1)).margin


def test_metrics_are_by_score_and_equal_scores_count_half():
    edges = np.array([[0, 1]], np.int32)
    mask = np.ones(2, bool)
    ids = np.array([1, 2], np.int32)
    group = Group(0, ids, (ids, ids), (mask, mask), edges)
    ones = np.ones(1, np.float32)
    group = group.with_columns(response={"weight": np.ones(2, np.float32)}, edge={"weight": ones, "margin": 0 * ones})
    found = metrics([group] * 3, column(1.0, 0.0, 0.5, 2.0, 3.0, 3.0))
    assert found["accuracy"].value.tolist() == [1.0, 0.0, 0.5]
    assert found["margin"].value.tolist() == [1.0, -1.5, 0.0]
    assert found["score"].value.mean().item() == pytest.approx(9.5 / 6) and found["score"].unit == "response"
    assert found["score_chosen"].value.tolist() == [1.0, 0.5, 3.0]
    assert found["score_rejected"].value.tolist() == [0.0, 2.0, 3.0]


def test_it_has_no_supervised_term_and_log_probs_are_no_scores():
    assert "sft_weight" not in OBJECTIVE.settings.model_fields
    with pytest.raises(ValueError, match="head='score'"):
        scores(Logps(torch.zeros(3)))
