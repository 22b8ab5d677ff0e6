"""Losses that hold each side of a pair against the reference, not their difference alone."""

import dataclasses
import math

import pytest
import torch
from pair_views import close, margins, slopes
from populations import bradley_terry, population_loss, sides

from logratio import objectives
from logratio.batch.logps import Logps
from logratio.batch.packed import pack
from logratio.exact.optimum import minimise
from logratio.exact.world import random_world
from logratio.objectives.apo_down import apo_down
from logratio.objectives.apo_zero import apo_zero
from logratio.objectives.bco_pair import bco_pair, reward_shift
from logratio.objectives.cal_dpo import best_margin, cal_dpo
from logratio.objectives.dpo import dpo
from logratio.objectives.dpop import dpop
from logratio.objectives.nca import nca
from logratio.objectives.sppo import sppo
from worlds import random_groups

A = torch.linspace(-40, 40, 81, dtype=torch.float64)
SOFTPLUS = 3e-9  # beyond 20 torch's softplus is linear, e⁻²⁰ off


def slope_of(value):
    """σ'(x) = σ(x)·(1 − σ(x))."""
    return torch.sigmoid(value) * torch.sigmoid(-value)


def test_nca_pulls_the_chosen_response_to_log_2_and_the_rejected_one_down_without_end():
    pairs = sides(A, A.flip(0) / 2)
    up, down = slopes(nca(pairs, beta=0.3), pairs)
    close(up, 0.3 * (1.5 * torch.sigmoid(0.3 * A) - 1), rtol=0, atol=SOFTPLUS)
    close(down, 0.15 * torch.sigmoid(0.3 * A.flip(0) / 2), rtol=0, atol=SOFTPLUS)
    settled = sides([math.log(2) / 0.3], [-5.0])
    up, down = slopes(nca(settled, beta=0.3), settled)
    assert abs(up.item()) < 1e-15 and down.item() > 0


def test_a_response_that_wins_with_probability_p_settles_where_nca_s_two_pulls_meet():
    """p·(−σ(−r) + ½σ(r)) + (1−p)·½σ(r) = 0: σ(r) = p/(p + ½), log 2 at p = 1 and the reference at p = ½."""
    for p in (0.5, 0.7, 1.0):
        r = math.log(2 * p)
        won, lost = sides([r / 0.3], [0.0]), sides([0.0], [r / 0.3])
        pull = p * slopes(nca(won, beta=0.3), won)[0] + (1 - p) * slopes(nca(lost, beta=0.3), lost)[1]
        assert abs(pull.item()) < 1e-15


def test_a_tie_holds_both_responses_of_nca_at_the_reference_and_two_bad_ones_fall():
    pairs, tie = sides(A, A.flip(0) / 2), torch.ones_like(A)
    up, down = slopes(nca(pairs, tie, beta=0.3), pairs)
    close(up, 0.3 * (torch.sigmoid(0.3 * A) - 0.5), rtol=0, atol=SOFTPLUS)
    close(down, 0.3 * (torch.sigmoid(0.15 * A.flip(0)) - 0.5), rtol=0, atol=SOFTPLUS)
    up, down = slopes(nca(pairs, 2 * tie, beta=0.3), pairs)
    close(up, 0.15 * torch.sigmoid(0.3 * A), rtol=0, atol=SOFTPLUS)
    close(down, 0.15 * torch.sigmoid(0.15 * A.flip(0)), rtol=0, atol=SOFTPLUS)
    level = [nca(sides([0.0], [0.0]), torch.tensor([kind]), beta=0.3).item() / math.log(2) for kind in (0.0, 1.0, 2.0)]
    assert level == pytest.approx([2, 2, 1], rel=1e-14)


def test_what_people_called_a_tie_or_both_bad_reaches_nca_from_the_batch():
    objective, batch = objectives.load("nca"), pack(random_groups(3, k=2, seed=5))
    marked = dataclasses.replace(batch, edge={**batch.edge, "tie": torch.tensor([0.0, 1.0, 2.0])})
    logps = Logps(torch.linspace(-5, -0.2, len(batch.target_R), dtype=torch.float64))
    settings = objective.settings(beta=0.3)
    assert objective.needs(settings).ties
    plain, seen = (objective.losses(logps, each, settings)["nca"] for each in (batch, marked))
    assert plain[0] == seen[0] and ((plain - seen)[1:].abs() > 1e-3).all()
    for metric in objective.metrics(logps, marked, settings).values():
        assert (metric.weight > 0).tolist() == [True, False, False]


def test_both_apo_losses_are_one_at_the_reference_and_have_their_written_gradients():
    chosen, rejected = A, A.flip(0) / 3
    pairs = sides(chosen, rejected)
    up, down = slopes(apo_zero(pairs, beta=0.2), pairs)
    close(up, -0.2 * slope_of(0.2 * chosen), rtol=0, atol=1e-14)
    close(down, 0.2 * slope_of(0.2 * rejected), rtol=0, atol=1e-14)
    up, down = slopes(apo_down(pairs, beta=0.2), pairs)
    margin = slope_of(0.2 * (chosen - rejected))
    close(up, 0.2 * (slope_of(0.2 * chosen) - margin), rtol=0, atol=1e-14)
    close(down, 0.2 * margin, rtol=0, atol=1e-14)
    at = sides([0.0], [0.0])
    assert apo_zero(at, beta=0.2).item() == apo_down(at, beta=0.2).item() == 1.0


def test_apo_down_presses_the_chosen_response_and_apo_zero_raises_it_where_the_margin_is_clear():
    pairs = sides([-1.0], [-60.0])
    assert slopes(apo_down(pairs, beta=0.2), pairs)[0] > 0 > slopes(apo_zero(pairs, beta=0.2), pairs)[0]


def test_along_opposite_log_ratios_apo_down_is_lowest_where_the_golden_ratio_says():
    """½·σ'(x/2) = σ'(x) ⇔ cosh(x/2)² = 1 + cosh(x/2)."""
    x = 2 * math.acosh((1 + math.sqrt(5)) / 2)
    assert abs((slope_of(torch.tensor(x / 2)) / 2 - slope_of(torch.tensor(x))).item()) < 1e-8
    h = torch.linspace(-30, 30, 60001, dtype=torch.float64)
    loss = apo_down(sides(h / 2, -h / 2), beta=0.5)
    assert h[loss.argmin()].item() == pytest.approx(x / 0.5, abs=1e-3)
    assert h[loss.argmax()].item() == pytest.approx(-x / 0.5, abs=1e-3)


@pytest.mark.parametrize("shift", [-2.0, 0.0, 0.7])
def test_bco_pair_is_never_below_dpo(shift):
    """(1 + e^{δ−r⁺})(1 + e^{r⁻−δ}) ≥ 1 + e^{r⁻−r⁺}."""
    pairs = sides(*torch.cartesian_prod(A, A).unbind(1))
    gap = bco_pair(pairs, shift, beta=0.2) - dpo(pairs, beta=0.2)
    assert gap.min() > -SOFTPLUS and gap.min() < 0.2


def test_bco_pair_has_its_shift_and_not_dpo_s_formula():
    """One implementation leaves δ out, and its own documentation gives DPO's formula for this loss."""
    drifted, level = sides([40.0, 44.0], [30.0, 26.0]), sides([5.0, 9.0], [-5.0, -9.0])
    weight = torch.ones(2)
    assert reward_shift(drifted, weight, beta=0.1).item() == pytest.approx(3.5, abs=1e-14)
    shifted = bco_pair(drifted, reward_shift(drifted, weight, beta=0.1), beta=0.1)
    close(shifted, bco_pair(level, reward_shift(level, weight, beta=0.1), beta=0.1), rtol=0, atol=1e-14)
    assert (bco_pair(drifted, 0.0, beta=0.1) - shifted).min() > 1 and (shifted - dpo(drifted, beta=0.1)).min() > 0.1


def test_the_shift_of_bco_pair_weighs_pairs_as_the_loss_does_and_has_no_gradient():
    pairs = sides([2.0, 10.0], [0.0, 4.0])
    assert reward_shift(pairs, torch.tensor([3.0, 1.0]), beta=1.0).item() == (3 * 1 + 7) / 4
    shift = reward_shift(pairs, torch.ones(2), beta=0.5)
    assert not shift.requires_grad
    up, down = slopes(bco_pair(pairs, shift, beta=0.5), pairs)
    close(up, -0.5 * torch.sigmoid(shift - 0.5 * torch.tensor([2.0, 10.0]).double()), rtol=0, atol=1e-12)
    close(down, 0.5 * torch.sigmoid(0.5 * torch.tensor([0.0, 4.0]).double() - shift), rtol=0, atol=1e-12)


def test_the_shift_of_bco_pair_is_that_of_the_whole_step():
    objective = objectives.load("bco_pair")
    groups = random_groups(6, k=2, seed=3)
    whole, half = pack(groups), pack(groups[:3])
    logp_R = torch.linspace(-6, -0.1, len(whole.target_R), dtype=torch.float64)
    settings = objective.settings(beta=0.5)
    full = objective.losses(Logps(logp_R), whole, settings)["bco_pair"]
    part = objective.losses(Logps(logp_R[: len(half.target_R)]), half, settings)["bco_pair"]
    assert objective.scope == "step" and (full[:3] - part).abs().max() > 1e-3


def test_sppo_aims_at_half_of_the_inverse_of_beta_on_both_sides():
    pairs = sides(A, A.flip(0) / 3)
    up, down = slopes(sppo(pairs, beta=0.05), pairs)
    close(up, 2 * (A - 10), rtol=0, atol=1e-12)
    close(down, 2 * (A.flip(0) / 3 + 10), rtol=0, atol=1e-12)
    assert sppo(sides([0.0], [0.0]), beta=1e-3).item() == 1 / (2 * 1e-3**2)
    assert sppo(sides([10.0], [-10.0]), beta=0.05).item() == 0


def test_a_soft_label_gives_sppo_its_form_for_probabilities():
    """p·(a − g)² + (1−p)·(a + g)², g = 1/(2β), is lowest at a = (p − ½)/β."""
    p, beta = 0.7, 0.4
    for side, sign in ((0, 1), (1, -1)):
        at = sides([(p - 0.5) / beta], [-(p - 0.5) / beta])
        swapped = sides([-(p - 0.5) / beta], [(p - 0.5) / beta])
        pull = p * slopes(sppo(at, beta=beta), at)[side] + (1 - p) * slopes(sppo(swapped, beta=beta), swapped)[1 - side]
        assert sign * pull.item() == pytest.approx(0, abs=1e-12)


def test_cal_dpo_has_no_beta_inside_the_sigmoid_and_weighs_its_squares_by_one():
    chosen, rejected = A, A.flip(0) / 3
    pairs = sides(chosen, rejected)
    written = torch.nn.functional.softplus(rejected - chosen) + (chosen - 5) ** 2 + (rejected + 5) ** 2
    close(cal_dpo(pairs, beta=0.1), written, rtol=1e-13, atol=SOFTPLUS)
    up, down = slopes(cal_dpo(pairs, beta=0.1), pairs)
    pull = torch.sigmoid(rejected - chosen)
    close(up, 2 * (chosen - 5) - pull, rtol=0, atol=SOFTPLUS)
    close(down, 2 * (rejected + 5) + pull, rtol=0, atol=SOFTPLUS)


@pytest.mark.parametrize("beta", [1e-3, 0.1, 1.0])
def test_cal_dpo_is_stationary_at_its_finite_margin(beta):
    h = best_margin(beta)
    assert h == pytest.approx(1 / beta + math.exp(-h) / (1 + math.exp(-h)), rel=1e-15)
    pairs = sides([h / 2], [-h / 2])
    for pull in slopes(cal_dpo(pairs, beta=beta), pairs):
        assert abs(pull.item()) < 1e-11
    at = cal_dpo(sides([0.0], [0.0]), beta=beta).item()
    assert at == pytest.approx(math.log(2) + 1 / (2 * beta**2), rel=1e-15)


def test_dpop_is_dpo_where_the_chosen_response_has_not_fallen():
    risen, fallen = sides(A.abs(), A), sides(-A.abs() - 0.1, A)
    close(dpop(risen, beta=0.1, penalty=50.0), dpo(risen, beta=0.1), rtol=0, atol=0)
    assert (dpop(fallen, beta=0.1, penalty=50.0) > dpo(fallen, beta=0.1)).all()
    close(dpop(fallen, beta=0.1, penalty=0.0), dpo(fallen, beta=0.1), rtol=0, atol=0)


def test_below_the_reference_dpop_pulls_the_chosen_response_one_plus_lambda_times_as_hard():
    pairs = sides([-0.2, -1.0], [0.5, -30.0])
    up, down = slopes(dpop(pairs, beta=0.1, penalty=5.0), pairs)
    close(up, -6 * down, rtol=1e-12, atol=0)
    u = 0.1 * (torch.tensor([-0.7, 29.0]) - 5 * torch.tensor([0.2, 1.0])).double()
    close(down, 0.1 * torch.sigmoid(-u), rtol=1e-7, atol=0)


def test_dpo_may_lower_a_chosen_response_that_dpop_holds():
    """Displacement: from one start, a step that DPO takes for progress is none for DPOP."""
    before, after = sides([0.0], [0.0]), sides([-2.0], [-8.0])
    assert dpo(after, beta=0.1) < dpo(before, beta=0.1)
    assert dpop(after, beta=0.1, penalty=50.0) > dpop(before, beta=0.1, penalty=50.0)


def test_margins_alone_do_not_decide_these_losses():
    """Equal margins at another level of both sides: each of these changes, DPO does not."""
    here, there = sides([3.0], [1.0]), sides([14.0], [12.0])
    close(dpo(here, beta=0.1), dpo(there, beta=0.1), rtol=0, atol=1e-15)
    for loss in (nca, apo_zero, apo_down, sppo, cal_dpo):
        assert (loss(here, beta=0.1) - loss(there, beta=0.1)).abs().item() > 1e-3
    assert dpo(margins([2.0]), beta=0.1).item() == pytest.approx(dpo(here, beta=0.1).item(), rel=1e-14)


def test_under_bradley_terry_and_small_rewards_bco_pair_orders_responses_as_the_reward_does():
    world = random_world(2, prompts=1, responses=4, spread=0.5)
    found = minimise(population_loss("bco_pair", world, bradley_terry(world), beta=0.5), world.reference_XY)
    ratio = found.policy_XY - world.reference_XY
    assert found.kind == "finite" and (ratio.argsort() == world.reward_XY.argsort()).all()
