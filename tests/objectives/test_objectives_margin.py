"""Losses of a pair's margin with other shapes than the logistic one: hinge, EXO, DiscoPOP, ROPO, and an offset."""

import math

import pytest
import torch
from pair_views import H, close, margins, slopes
from populations import bradley_terry, one_pair, population_loss

from logratio.exact import comparisons, coverage, gibbs, preferences
from logratio.exact.optimum import minimise
from logratio.exact.world import random_world
from logratio.objectives.discopop import discopop
from logratio.objectives.dpo import dpo
from logratio.objectives.exo import exo
from logratio.objectives.hinge import hinge
from logratio.objectives.odpo import odpo
from logratio.objectives.ropo import ropo

SOFTPLUS = 3e-9  # beyond 20 torch's softplus is linear, e⁻²⁰ off


def margin(world, found):
    a = found.policy_XY - world.reference_XY
    return (a[0, 0] - a[0, 1]).item()


def test_the_hinge_pulls_with_constant_force_below_its_margin_and_not_at_all_above():
    pairs = margins(H + 0.5)
    up, down = slopes(hinge(pairs, beta=0.1), pairs)
    expected = -0.1 * (H + 0.5 < 10).double()
    close(up, expected, rtol=0, atol=0)
    close(down, -expected, rtol=0, atol=0)
    assert hinge(margins([0.0]), beta=0.1).item() == 1.0


def test_on_certain_labels_the_hinge_is_content_from_its_margin_on():
    world, rows = one_pair(1.0)
    found = minimise(population_loss("hinge", world, rows, beta=0.5), world.reference_XY)
    assert found.attained and found.loss == pytest.approx(0, abs=1e-12) and margin(world, found) >= 2 - 1e-9


@pytest.mark.parametrize("smoothing", [1e-3, 0.2])
def test_exo_is_lowest_where_its_preference_is_the_label_s(smoothing):
    """q = 1 − ε, where the divergence is 0; gradient β·q(1−q)·(u − logit(1−ε))."""
    goal = math.log(1 / smoothing - 1)
    assert exo(margins([goal / 0.3]), beta=0.3, label_smoothing=smoothing).item() == pytest.approx(0, abs=1e-14)
    pairs = margins(H)
    loss = exo(pairs, beta=0.3, label_smoothing=smoothing)
    assert loss.min() > -1e-14
    q = torch.sigmoid(0.3 * H)
    up, down = slopes(loss, pairs)
    close(up, 0.3 * q * (1 - q) * (0.3 * H - goal), rtol=1e-9, atol=1e-13)
    close(down, -up, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("smoothing", [1e-3, 0.2])
def test_on_certain_labels_exo_stops_at_its_smoothing(smoothing):
    world, rows = one_pair(1.0)
    found = minimise(population_loss("exo", world, rows, beta=0.5, label_smoothing=smoothing), world.reference_XY)
    assert found.kind == "finite"
    assert 0.5 * margin(world, found) == pytest.approx(math.log(1 / smoothing - 1), abs=1e-8)


def test_exo_at_the_reference_and_its_labels_that_do_not_add_up_to_one():
    """The sheet's 2.7612 at ε = 10⁻³; log-labels 0 and −10 (authors' code) are ε = 1/(1 + e¹⁰), and a shift."""
    assert exo(margins([0.0]), beta=0.1, label_smoothing=1e-3).item() == pytest.approx(2.7612, abs=5e-5)
    q = torch.sigmoid(0.3 * H)
    loose = q * (q.log() - 0) + (1 - q) * ((1 - q).log() + 10)
    tight = exo(margins(H), beta=0.3, label_smoothing=1 / (1 + math.exp(10)))
    close(tight - loose, torch.full_like(H, math.log1p(math.exp(-10))), rtol=0, atol=1e-9)


def test_discopop_has_the_local_minimum_and_maximum_of_the_sheet_and_falls_beyond():
    """β = τ = .05: minimum at h ≈ −2.37 (.7859), maximum at +1.44 (.8783), .8466 at the reference, then towards 0."""
    h = torch.linspace(-8, 8, 160001, dtype=torch.float64)
    loss = discopop(margins(h), beta=0.05, temperature=0.05)
    slope = loss.diff()
    turns = torch.nonzero(slope.sign().diff()).flatten() + 1
    assert [round(x, 2) for x in h[turns].tolist()] == [-2.37, 1.44]
    assert [round(x, 4) for x in loss[turns].tolist()] == [0.7859, 0.8783]
    assert discopop(margins([0.0]), beta=0.05, temperature=0.05).item() == pytest.approx(
        (math.log(2) + 1) / 2, rel=1e-14
    )
    far = discopop(margins([100.0, 1000.0]), beta=0.05, temperature=0.05)
    close(far, [math.exp(-5), math.exp(-50)], rtol=1e-9, atol=0)


@pytest.mark.parametrize("temperature", [0.02, 0.05, 0.1, 0.11, 1.0])
def test_a_pair_at_the_reference_moves_the_wrong_way_under_discopop_where_tau_is_small(temperature):
    """Slope β·[(1 − log 2)/(4τ) − ¾]."""
    pairs = margins([0.0])
    up, _ = slopes(discopop(pairs, beta=0.3, temperature=temperature), pairs)
    assert up.item() == pytest.approx(0.3 * ((1 - math.log(2)) / (4 * temperature) - 0.75), rel=1e-12)
    assert (up.item() > 0) == (temperature < (1 - math.log(2)) / 3)


def test_discopop_is_the_blend_that_is_written_where_that_can_be_computed():
    u = 0.3 * H
    s = torch.sigmoid(u / 0.7)
    written = (1 - s) * torch.log1p(torch.exp(-u)) + s * torch.exp(-u)
    close(discopop(margins(H), beta=0.3, temperature=0.7), written, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("alpha", [2.0, 14.0])
def test_the_pull_of_ropo_is_at_most_one_and_fades_on_pairs_far_on_the_wrong_side(alpha):
    """|∂ℓ/∂u| = 4α/(1+α)²·q·(1 + α(1−q)), q = σ(−u): 1 at q = (1+α)/(2α), 4α/(1+α)² as u → −∞."""
    top = math.log((1 + alpha) / (alpha - 1))  # −u with σ(−u) = (1+α)/(2α)
    for u, expected in ((-top, 1.0), (-60.0, 4 * alpha / (1 + alpha) ** 2)):
        pairs = margins([u / 0.3])
        assert slopes(ropo(pairs, beta=0.3, alpha=alpha), pairs)[0].item() == pytest.approx(-0.3 * expected, rel=1e-12)
    pairs = margins(torch.linspace(-100, 100, 4001).double())
    pull = -slopes(ropo(pairs, beta=0.3, alpha=alpha), pairs)[0] / 0.3
    assert pull.max() <= 1 + 1e-12 and (pull > 0).all()
    at = ropo(margins([0.0]), beta=0.3, alpha=alpha).item()
    assert at == pytest.approx(4 * alpha / (1 + alpha) ** 2 * (math.log(2) + alpha / 2), rel=1e-14)


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_without_an_offset_odpo_is_dpo_and_with_one_its_optimum_is_further_by_it(scale):
    nothing = torch.zeros_like(H)
    close(odpo(margins(H), nothing, beta=0.3, alpha=2.0, scale=scale), dpo(margins(H), beta=0.3), rtol=0, atol=0)
    gap = torch.full_like(H, 3.0)
    close(odpo(margins(H), gap, beta=0.3, alpha=0.0, scale=scale), dpo(margins(H), beta=0.3), rtol=0, atol=0)
    delta = 2.0 * (math.log(3.0) if scale == "log" else 3.0)
    shifted = dpo(margins(H - delta / 0.3), beta=0.3)
    close(odpo(margins(H), gap, beta=0.3, alpha=2.0, scale=scale), shifted, rtol=1e-12, atol=SOFTPLUS)


def test_margins_of_zero_or_less_have_no_logarithm_and_are_no_offset():
    gap = torch.tensor([-1.0, 0.0, 1.0, 2.0], dtype=torch.float64)
    loss = odpo(margins([2.0] * 4), gap, beta=0.5, alpha=1.0, scale="log")
    plain = dpo(margins([2.0]), beta=0.5).item()
    close(loss[:3], [plain] * 3, rtol=0, atol=0)
    assert loss[3] > plain + 0.1


def test_the_offset_of_odpo_comes_from_the_column_of_margins():
    world = random_world(4, prompts=1, responses=2)
    truth, pairs = preferences.bradley_terry(world.reward_XY), coverage.uniform(1, 2)
    gap = torch.full_like(truth, 0.4)
    rows = comparisons.population(world, truth, pairs, margin_XYY=gap)
    offset = minimise(population_loss("odpo", world, rows, beta=0.5, scale="linear"), world.reference_XY)
    plain = minimise(population_loss("odpo", world, bradley_terry(world), beta=0.5), world.reference_XY)
    close(plain.policy_XY.exp(), gibbs.optimum(world, 0.5).exp(), rtol=0, atol=1e-9)
    p, h = truth[0, 0, 1].item(), margin(world, offset)
    pull = p / (1 + math.exp(0.5 * h - 0.4)) - (1 - p) / (1 + math.exp(-0.5 * h - 0.4))
    assert offset.kind == "finite" and abs(pull) < 1e-10 and abs(h - margin(world, plain)) > 0.05
