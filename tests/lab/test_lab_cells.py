"""Cells whose content is known in closed form."""

import math

import pytest
import torch

from logratio.exact import gibbs
from logratio.lab.cells import cell, frontier_distance
from logratio.lab.entries import entries
from logratio.lab.regimes import regimes
from logratio.lab.samples import convergence

REGIMES = regimes()


def entry(label):
    return next(row for row in entries() if row.label == label)


def test_there_are_the_regimes_of_the_table():
    assert list(REGIMES) == [
        "clean",
        "certain",
        "flips-10",
        "flips-30",
        "groups",
        "cycle",
        "cycle-uneven",
        "uncompared",
        "biased",
        "length",
    ]


@pytest.mark.parametrize("label", ["dpo", "plackett_luce"])
@pytest.mark.parametrize("regime", ["clean", "biased"])
def test_dpo_has_the_gibbs_optimum_as_its_minimum_whatever_the_reference(label, regime):
    found = cell(entry(label), REGIMES[regime])
    assert found.kind == "finite" and found.distance_at_one < 1e-12 and found.order == 1
    assert found.calibration < 1e-8 and found.beta == pytest.approx(1, abs=1e-4)


def test_robust_dpo_undoes_the_flips_it_is_told_of_and_diverges_where_there_are_none():
    found = cell(entry("robust_dpo"), REGIMES["flips-10"])
    assert found.kind == "finite" and found.distance_at_one < 1e-12 and found.calibration < 1e-8
    assert cell(entry("robust_dpo"), REGIMES["clean"]).kind == "unbounded"


def test_flips_shrink_the_margins_of_dpo_and_leave_their_order():
    ten, thirty = (cell(entry("dpo"), REGIMES[name]) for name in ("flips-10", "flips-30"))
    assert ten.order == thirty.order == 1 and 1 < ten.beta < thirty.beta and 0 < ten.calibration < thirty.calibration


def test_certain_labels_have_no_minimum_for_dpo_and_one_for_ipo_and_for_smoothing():
    certain = REGIMES["certain"]
    assert cell(entry("dpo"), certain).kind == "limit"
    assert cell(entry("ipo"), certain).kind == cell(entry("dpo, ε 0.1"), certain).kind == "finite"


@pytest.mark.parametrize("label", ["dpo", "ipo", "simpo", "orpo", "kto"])
def test_an_even_cycle_leaves_the_reference_and_an_uneven_one_makes_up_a_winner(label):
    assert cell(entry(label), REGIMES["cycle"]).distance < 1e-9
    assert cell(entry(label), REGIMES["cycle-uneven"]).distance > 1e-3


def test_the_uneven_cycle_gives_the_offsets_of_the_maximum_likelihood_fit():
    """BT-MLE of a = 0.8 with pairs from (.6, .3, .1): (.257, −.642, .385), as a distance from uniform."""
    offsets = torch.tensor([[0.257, -0.642, 0.385]], dtype=torch.float64).expand(2, 3).log_softmax(-1)
    expected = frontier_distance(REGIMES["cycle-uneven"].world, offsets)[0]
    assert cell(entry("dpo"), REGIMES["cycle-uneven"]).distance == pytest.approx(expected, abs=1e-3)


def test_a_response_in_no_pair_keeps_its_share_of_the_rest_under_dpo_and_vanishes_under_imitation():
    """Its logit gets no gradient, so its log-ratio is that of the start up to the prompt's constant."""
    policy, reference, best = cell(entry("dpo"), REGIMES["uncompared"]).outside
    assert policy > 0.01 and reference > 0.01 and abs(policy - best) > 1e-3
    assert cell(entry("sft"), REGIMES["uncompared"]).outside[0] < 1e-6


def test_the_frontier_is_at_no_distance_from_itself_at_any_beta():
    world = REGIMES["clean"].world
    for beta in (0.05, 1.0, 30.0):
        distance, at = frontier_distance(world, gibbs.optimum(world, beta))
        assert distance < 1e-12 and at == pytest.approx(beta, rel=1e-3)
    assert frontier_distance(world, world.reference_XY) == (pytest.approx(0, abs=1e-12), math.inf)


def test_the_error_falls_with_the_square_root_of_the_number_of_comparisons():
    found = convergence(entry("dpo"), sizes=(1_000, 10_000, 100_000), draws=8)
    assert found.attained == [1, 1, 1] and found.slope == pytest.approx(-0.5, abs=0.1)
    assert found.errors[0] > found.errors[1] > found.errors[2]


def test_a_loss_without_a_minimum_on_unlimited_data_has_no_error():
    assert convergence(entry("kto"), sizes=(100,), draws=1) is None
