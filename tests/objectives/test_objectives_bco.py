"""Labels one response at a time without KTO's baseline: BCO's running shift, and APO-zero."""

import math

import pytest
import torch
from pair_views import close

from logratio import objectives
from logratio.batch.logps import Logps
from logratio.batch.packed import pack
from logratio.objectives.apo_zero_unpaired import apo_zero_unpaired
from logratio.objectives.bco import bco, reward_shift
from logratio.objectives.kto import kto
from worlds import random_groups

A = torch.linspace(-30, 30, 61, dtype=torch.float64)
GOOD, BAD = torch.ones_like(A), torch.zeros_like(A)
ZERO = torch.zeros((), dtype=torch.float64)


def test_at_the_reference_and_without_a_shift_bco_is_log_2():
    zero = torch.zeros(2, dtype=torch.float64)
    close(bco(zero, torch.tensor([1.0, 0.0]), ZERO, beta=0.1), [math.log(2)] * 2)


@pytest.mark.parametrize("shift", [-2.0, 0.0, 0.3, 5.0])
def test_for_every_shift_a_pair_costs_at_least_its_dpo_loss(shift):
    won, lost = torch.cartesian_prod(A, A).unbind(1)
    delta = torch.tensor(shift, dtype=torch.float64)
    pair = bco(won, torch.ones_like(won), delta, beta=0.3) + bco(lost, torch.zeros_like(lost), delta, beta=0.3)
    direct = torch.nn.functional.softplus(-0.3 * (won - lost))
    assert (pair >= direct).all() and (pair - direct).min() < 0.02


@pytest.mark.parametrize("desirable", [0.2, 0.5, 0.9])
def test_a_response_called_good_with_probability_q_settles_at_its_log_odds_beyond_the_shift(desirable):
    a = torch.tensor([(math.log(desirable / (1 - desirable)) + 0.7) / 0.1], dtype=torch.float64, requires_grad=True)
    shift = torch.tensor(0.7, dtype=torch.float64)
    good, bad = (bco(a, torch.full((1,), label, dtype=torch.float64), shift, beta=0.1) for label in (1.0, 0.0))
    (desirable * good + (1 - desirable) * bad).sum().backward()
    assert abs(a.grad.item()) < 1e-15


def test_each_label_counts_half_in_the_shift_however_many_there_are():
    """Implementations differ: no shift at all, or one mean over all responses (here 0.2·10 − 0.8·5 = −2)."""
    sums = {"good_sum": 20.0, "good_count": 2.0, "bad_sum": -40.0, "bad_count": 8.0}
    wide = {name: torch.tensor(value, dtype=torch.float64) for name, value in sums.items()}
    assert reward_shift(wide).item() == 0.5 * (10 - 5)
    alone = {**wide, "bad_sum": ZERO, "bad_count": ZERO}
    assert reward_shift(alone).item() == 5.0


def test_the_shift_has_no_gradient_and_the_slope_is_that_of_the_classifier():
    """∂ℓ/∂a = ∓β·σ(∓(βa − δ)), δ of the running sums with this step's responses in them, weights of 0 left out."""
    groups = random_groups(9, k=1, labels=True, mismatched=True, seed=7)
    objective = objectives.load("bco")
    settings = objective.settings(beta=0.2, decay=0.5)
    state = {"good_sum": 4.0, "good_count": 3.0, "bad_sum": -6.0, "bad_count": 2.0}
    batch = pack(groups).with_state({name: torch.tensor(value).double() for name, value in state.items()})
    draw = torch.Generator().manual_seed(3)
    noise_R = torch.randn(len(batch.target_R), generator=draw, dtype=torch.float64)
    logp_R = (batch.token["reference"].double() + noise_R).requires_grad_()
    loss_S = objective.losses(Logps(logp_R), batch, settings)["bco"]
    (slope_R,) = torch.autograd.grad(loss_S.sum(), logp_R)
    reward = 0.2 * batch.sum_by_response(noise_R)
    own, good = batch.response["weight"] > 0, batch.response["label"] > 0
    assert own.sum() == 9 and (good & own).any() and (~good & own).any()
    counts = [((good & own).sum() + 1.5), ((~good & own).sum() + 1.0)]
    shift = ((reward[good & own].sum() + 2) / counts[0] + (reward[~good & own].sum() - 3) / counts[1]) / 2
    sign = torch.where(good, 1.0, -1.0).double()
    expected_S = -sign * 0.2 * torch.sigmoid(-sign * (reward - shift))
    close(slope_R, expected_S[batch.response_R], rtol=1e-6, atol=1e-9)
    told = objective.metrics(Logps(logp_R.detach()), batch, settings)["reward_shift"].value
    assert told.item() == pytest.approx(shift.item(), rel=1e-6)


def test_apo_zero_on_labels_is_kto_measured_from_zero():
    weights = {"beta": 0.3, "desirable_weight": 1.3, "undesirable_weight": 0.6}
    for label in (GOOD, BAD):
        close(apo_zero_unpaired(A, label, **weights), kto(A, label, ZERO, **weights), rtol=1e-12, atol=1e-15)


def test_a_pair_once_good_and_once_bad_sums_to_apo_zero():
    """1 − σ(βa⁺) + σ(βa⁻), 1 at the reference (arXiv:2408.06266)."""
    weights = {"beta": 0.3, "desirable_weight": 1.0, "undesirable_weight": 1.0}
    pair = apo_zero_unpaired(A, GOOD, **weights) + apo_zero_unpaired(A.flip(0), BAD, **weights)
    close(pair, 1 - torch.sigmoid(0.3 * A) + torch.sigmoid(0.3 * A.flip(0)), rtol=1e-12, atol=1e-15)
    assert pair[30].item() == 1.0


def test_the_pull_of_apo_zero_is_bounded_and_vanishes_at_both_extremes():
    a = A.clone().requires_grad_()
    apo_zero_unpaired(a, GOOD, beta=0.5, desirable_weight=1.0, undesirable_weight=1.0).sum().backward()
    sigma = torch.sigmoid(0.5 * A)
    close(a.grad, -0.5 * sigma * (1 - sigma), rtol=1e-9, atol=1e-15)
