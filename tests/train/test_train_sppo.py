"""SPPO on fresh responses: what each log-ratio is aimed at is the paper's estimate of P(y ≻ π_t) − ½, over β."""

from itertools import product

import numpy as np
import pytest
import torch

from logratio import objectives
from logratio.batch.logps import Logps
from logratio.batch.packed import pack
from logratio.config import RolloutConfig
from logratio.train import drawn as rows
from logratio.train.drawn import Choice, win_rates

CYCLE = np.array([[0.5, 0.8, 0.1], [0.2, 0.5, 0.7], [0.9, 0.3, 0.5]])
"""Probability that the arm of the row is preferred to that of the column."""
POLICY = np.array([0.6, 0.3, 0.1])
NASH = np.array([2, 4, 3]) / 9
"""No arm is preferred to this mixture, nor is it to any."""


def row(arms):
    """A prompt with single-token responses, compared as `CYCLE` says: scores are the shares won over the others."""
    count = len(arms)
    shares = [[CYCLE[a, b] for j, b in enumerate(arms) if j != i] for i, a in enumerate(arms)]
    return {
        "row": 0,
        "weight": 1.0,
        "prompt_tokens": [1, 2],
        "tokens": [[5 + arm] for arm in arms],
        "scores": [float(np.mean(own)) for own in shares],
        "comparisons": [[i, j, CYCLE[arms[i], arms[j]]] for i in range(count) for j in range(i + 1, count)],
        "sampled": None,
        "ended": [True] * count,
    }


def test_the_estimate_is_the_mean_preference_over_all_samples_of_the_prompt():
    arms = (0, 1, 2, 1, 0)
    assert np.allclose(win_rates(row(arms)), CYCLE[np.ix_(arms, arms)].mean(1), rtol=0, atol=1e-15)
    scored = {"scores": [1.0, 3.0, 1.0]}  # the higher one is preferred, and two alike are a tie
    assert np.allclose(win_rates(scored), [(0.5 + 0 + 0.5) / 3, (1 + 0.5 + 1) / 3, (0.5 + 0 + 0.5) / 3])


@pytest.mark.parametrize("count", [2, 3, 4])
def test_its_expectation_is_the_preference_over_the_policy_drawn_in_by_one_sample_in_k(count):
    """E[P̂ − ½ | y] = (K−1)/K·(P(y≻π) − ½): the sample itself, which is y and counts ½, is one of the K."""
    for arm in range(3):
        found = 0.0
        for others in product(range(3), repeat=count - 1):
            found += POLICY[list(others)].prod() * (win_rates(row((arm, *others)))[0] - 0.5)
        assert found == pytest.approx((count - 1) / count * (CYCLE[arm] @ POLICY - 0.5), abs=1e-15)


def test_the_loss_of_the_best_and_the_worst_of_k_is_lowest_at_their_own_estimates():
    drawn = row((0, 1, 2, 2, 1))
    objective, beta = objectives.load("sppo"), 0.4
    group = Choice.of(objective, objective.settings(), RolloutConfig()).group(drawn)
    batch = pack([group.with_columns(token={"reference": np.full(2, -1.0, np.float32)})])
    goals = torch.empty(2)
    for pick, side in ((np.argmax, batch.winner_E), (np.argmin, batch.loser_E)):
        goals[side] = (win_rates(drawn)[pick(drawn["scores"])] - 0.5) / beta

    def loss(ratio_R):
        return objective.losses(Logps(ratio_R - 1), batch, objective.settings(beta=beta))["sppo"].item()

    assert goals.abs().max() < 0.5 / beta - 0.1  # hard labels aim further
    assert loss(goals) == pytest.approx(0, abs=1e-12)
    off = torch.tensor([0.3, -0.7])
    assert loss(goals + off) == pytest.approx(off.square().sum().item(), rel=1e-5)


def test_win_rates_are_counted_once_a_prompt_and_for_the_objective_that_reads_them(monkeypatch):
    asked = []
    monkeypatch.setattr(rows, "win_rates", lambda own: asked.append(own) or win_rates(own))
    for name, count in (("sppo", 1), ("dpo", 0)):
        objective = objectives.load(name)
        choice = Choice.of(objective, objective.settings(), RolloutConfig(k=5, edges="all"))
        group = choice.group(row((0, 1, 2, 2, 1)))
        assert ("win_rate" in group.columns.response, len(asked)) == (count == 1, count)
        asked.clear()


def weighed(policy, edges, count=3):
    """Everything that a policy may draw, weighed by its probability, as the groups of a phase."""
    objective = objectives.load("sppo")
    choice = Choice.of(objective, objective.settings(), RolloutConfig(k=count, edges=edges))
    drawn = [row(arms) | {"weight": float(policy[list(arms)].prod())} for arms in product(range(3), repeat=count)]
    groups = [choice.group(each) for each in drawn if len({*map(tuple, each["tokens"])}) > 1]
    batch = pack(groups)
    return batch.with_token(reference=torch.tensor(np.log(policy))[batch.target_R.long() - 5])


def expected(batch, logp_V, beta):
    """The loss of a policy whose log-probs of the three arms are given, as if all that may be drawn had been."""
    objective = objectives.load("sppo")
    losses = objective.losses(Logps(logp_V[batch.target_R.long() - 5]), batch, objective.settings(beta=beta))
    return (losses["sppo"] * batch.edge["weight"]).sum()


def slope_at(policy, edges):
    leaf_V = torch.tensor(np.log(policy)).requires_grad_()
    (slope_V,) = torch.autograd.grad(expected(weighed(policy, edges), leaf_V, 1.0), leaf_V)
    return slope_V.abs().max().item()


def test_all_pairs_rest_at_the_equilibrium_of_the_game_and_the_best_with_the_worst_do_not():
    """Each response is in as many pairs as others differ from it, whoever wins; the best is picked because it won."""
    assert np.allclose(CYCLE @ NASH, 0.5, rtol=0, atol=1e-15)
    assert slope_at(NASH, "all") < 1e-6 < 1e-2 < slope_at(NASH, "best_worst")
    assert slope_at(POLICY, "all") > 1e-2
