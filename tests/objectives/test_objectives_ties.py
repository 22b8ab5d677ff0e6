"""DPO that learns from ties: Rao–Kupper's threshold and Davidson's geometric mean."""

import dataclasses
import math

import pytest
import torch
from pair_views import H, close, margins, slopes
from populations import population_loss

from logratio import objectives
from logratio.batch.logps import Logps
from logratio.batch.packed import pack
from logratio.exact import comparisons, coverage
from logratio.exact.optimum import minimise
from logratio.exact.world import build
from logratio.objectives.dpo import dpo
from logratio.objectives.dpo_d import dpo_d
from logratio.objectives.dpo_rk import dpo_rk
from worlds import random_groups

TIE, NONE = torch.ones_like(H, dtype=torch.bool), torch.zeros_like(H, dtype=torch.bool)
LOG_3 = math.log(3)
MODELS = {
    "dpo_rk": lambda pairs, tie, alpha=LOG_3: dpo_rk(pairs, tie, beta=0.2, alpha=alpha),
    "dpo_d": lambda pairs, tie, nu=1.0: dpo_d(pairs, tie, beta=0.2, nu=nu),
}
SOFTPLUS = 3e-9  # beyond 20 torch's softplus is linear, e⁻²⁰ off


@pytest.mark.parametrize("name", MODELS)
def test_win_loss_and_tie_are_all_there_is(name):
    win, loss, tie = MODELS[name](margins(H), NONE), MODELS[name](margins(-H), NONE), MODELS[name](margins(H), TIE)
    close((-win).exp() + (-loss).exp() + (-tie).exp(), torch.ones_like(H), rtol=0, atol=1e-8)
    close(tie, tie.flip(0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_between_equals_a_tie_has_probability_one_half(name):
    at = margins([0.0])
    assert MODELS[name](at, TIE[:1]).item() == pytest.approx(math.log(2), rel=1e-14)
    assert MODELS[name](at, NONE[:1]).item() == pytest.approx(math.log(4), rel=1e-14)


def test_without_ties_both_are_dpo():
    plain = dpo(margins(H), beta=0.2)
    close(MODELS["dpo_rk"](margins(H), NONE, alpha=1e-9), plain, rtol=0, atol=3e-9)
    close(MODELS["dpo_d"](margins(H), NONE, nu=1e-12), plain, rtol=0, atol=3e-9)


def test_on_data_without_ties_a_model_that_expects_them_asks_for_wider_margins():
    """ν = 1: n = (1 + e^{−u/2})², twice DPO's loss at β/2. α: DPO's loss at u − α."""
    close(MODELS["dpo_d"](margins(H), NONE), 2 * dpo(margins(H), beta=0.1), rtol=0, atol=1e-12)
    close(MODELS["dpo_rk"](margins(H), NONE, alpha=0.7), dpo(margins(H - 0.7 / 0.2), beta=0.2), rtol=0, atol=1e-12)


def test_the_closed_forms_are_those_that_are_written():
    u, alpha, nu = 0.2 * H, 0.7, 0.4
    win, lose = torch.sigmoid(u - alpha), torch.sigmoid(-u - alpha)
    close(MODELS["dpo_rk"](margins(H), NONE, alpha=alpha), -win.log(), rtol=0, atol=SOFTPLUS)
    close(MODELS["dpo_rk"](margins(H), TIE, alpha=alpha), -(1 - win - lose).log(), rtol=1e-9, atol=1e-8)
    total = 1 + torch.exp(-u) + 2 * nu * torch.exp(-u / 2)
    close(MODELS["dpo_d"](margins(H), NONE, nu=nu), total.log(), rtol=1e-12, atol=1e-12)
    close(MODELS["dpo_d"](margins(H), TIE, nu=nu), (total / (2 * nu * torch.exp(-u / 2))).log(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_a_tie_draws_the_margin_to_zero_and_a_win_widens_it(name):
    pairs = margins(H)
    up, down = slopes(MODELS[name](pairs, TIE), pairs)
    assert (up[H > 0] > 0).all() and (up[H < 0] < 0).all() and abs(up[40].item()) < 1e-15
    close(down, -up, rtol=0, atol=1e-15)
    pairs = margins(H)
    assert (slopes(MODELS[name](pairs, NONE), pairs)[0] < 0).all()


def test_davidson_keeps_the_odds_of_bradley_terry():
    """P(y⁺)/P(y⁻) = e^u and P(tie)² = 4ν²·P(y⁺)·P(y⁻)."""
    win, lose, tie = (MODELS["dpo_d"](margins(h), t, nu=0.7) for h, t in ((H, NONE), (-H, NONE), (H, TIE)))
    close(lose - win, 0.2 * H, rtol=0, atol=1e-12)
    close(2 * tie, win + lose - 2 * math.log(2 * 0.7), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "settings"), [("dpo_rk", {"alpha": 0.8}), ("dpo_d", {"nu": 0.6})])
def test_each_recovers_its_own_world_of_wins_and_ties(name, settings):
    """One pair, margins drawn from the model itself at a true reward gap of 1.3: β·h = 1.3 minimises the loss."""
    world = build(torch.zeros(1, 2))
    gap = torch.tensor([1.3], dtype=torch.float64)
    model = {"dpo_rk": dpo_rk, "dpo_d": dpo_d}[name]
    chances = [
        (-model(margins(u), torch.tensor([t]), beta=1.0, **settings)).exp().item()
        for u, t in ((gap, False), (-gap, False), (gap, True))
    ]
    win, lose, tie = chances
    p = win / (win + lose)
    truth = torch.tensor([[[0.5, p], [1 - p, 0.5]]], dtype=torch.float64)
    ties = torch.full((1, 2, 2), tie, dtype=torch.float64)
    rows = comparisons.population(world, truth, coverage.uniform(1, 2), ties_XYY=ties)
    found = minimise(population_loss(name, world, rows, beta=0.5, **settings), world.reference_XY)
    a = found.policy_XY - world.reference_XY
    assert found.kind == "finite"
    assert 0.5 * (a[0, 0] - a[0, 1]).item() == pytest.approx(1.3, abs=1e-8)


@pytest.mark.parametrize("name", MODELS)
def test_ties_of_the_batch_are_read_from_its_column_both_bad_alike_and_left_out_of_accuracy(name):
    objective = objectives.load(name)
    batch = pack(random_groups(4, k=2, seed=5))
    tie = torch.tensor([0.0, 1.0, 2.0, 0.0])
    marked = dataclasses.replace(batch, edge={**batch.edge, "tie": tie})
    logps = Logps(torch.linspace(-5, -0.2, len(batch.target_R), dtype=torch.float64))
    plain, seen = (objective.losses(logps, each, objective.settings())[name] for each in (batch, marked))
    assert torch.equal(plain[[0, 3]], seen[[0, 3]]) and ((plain - seen)[[1, 2]].abs() > 1e-3).all()
    for metric in objective.metrics(logps, marked, objective.settings()).values():
        assert (metric.weight > 0).tolist() == [True, False, False, True]
    mixed = objective.losses(logps, marked, objective.settings(sft_weight=1.0))["sft"]
    assert (mixed > 0).tolist() == [True, False, False, True], "a tie has no response to imitate"
