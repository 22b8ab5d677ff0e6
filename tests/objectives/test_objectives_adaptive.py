"""Losses that look at the whole step or at the policy's own distribution: AOT, β-DPO, WPO, TDPO."""

import math

import numpy as np
import pytest
import torch
from pair_views import H, close, margins, slopes, sums

from logratio import objectives
from logratio.batch.logps import Logps
from logratio.batch.packed import pack
from logratio.logps.policy import Policy
from logratio.objectives.aot import aot, coupling
from logratio.objectives.beta_dpo import selection
from logratio.objectives.dpo import dpo
from logratio.objectives.tdpo import tdpo
from logratio.objectives.views import PairLogps, pairs
from logratio.objectives.wpo import pair_weight, wpo
from worlds import random_groups, tiny_llama

DRAW = torch.Generator().manual_seed(2)
D, D_REF = (torch.randn(9, generator=DRAW, dtype=torch.float64) * 5 for _ in range(2))
ONES = torch.ones(9, dtype=torch.float64)


def compared(d, d_ref, probability=1.0):
    d = torch.as_tensor(d, dtype=torch.float64)
    bare = sums(d - 20, -20.0, probability=probability)
    return PairLogps(
        **vars(bare), reference_chosen=torch.as_tensor(d_ref, dtype=torch.float64), reference_rejected=d * 0
    )


def test_with_equal_weights_the_smallest_margin_meets_the_smallest_of_the_reference():
    loss = aot(compared(D, D_REF), ONES, beta=0.3)
    expected = torch.nn.functional.softplus(-0.3 * (D.sort().values - D_REF.sort().values))
    close(loss[D.argsort()], expected, rtol=1e-12, atol=0)
    shuffled = torch.randperm(9, generator=DRAW)
    close(aot(compared(D, D_REF[shuffled]), ONES, beta=0.3), loss, rtol=0, atol=0)


def test_the_gradient_of_aot_goes_to_each_pair_by_its_own_rank():
    view = compared(D, D_REF)
    up, down = slopes(aot(view, ONES, beta=0.3), view)
    gap = torch.empty(9, dtype=torch.float64)
    gap[D.argsort()] = D.sort().values - D_REF.sort().values
    close(up, -0.3 * torch.sigmoid(-0.3 * gap), rtol=1e-12, atol=0)
    close(down, -up)


def test_a_weight_of_two_is_a_pair_twice_and_of_zero_one_left_out():
    weight = torch.tensor([2.0, 1, 0, 1, 1, 3, 1, 1, 1], dtype=torch.float64)
    often = torch.repeat_interleave(torch.arange(9), weight.long())
    each = aot(compared(D, D_REF), weight, beta=0.3)
    repeated = aot(compared(D[often], D_REF[often]), torch.ones(len(often)).double(), beta=0.3)
    assert (weight * each).sum().item() == pytest.approx(repeated.sum().item(), rel=1e-12)
    assert each[2] == 0


def test_a_soft_label_is_its_judgements_one_by_one():
    """p = ¾ is three judgements one way and one the other."""
    soft = aot(compared(D, D_REF, probability=0.75), ONES, beta=0.3)
    side = torch.tensor([1.0, 1.0, 1.0, -1.0]).double()
    repeated = aot(
        compared(torch.outer(D, side).flatten(), torch.outer(D_REF, side).flatten()),
        torch.full((36,), 0.25).double(),
        beta=0.3,
    )
    assert soft.sum().item() == pytest.approx(0.25 * repeated.sum().item(), rel=1e-12)


def test_aot_on_parts_of_a_step_is_another_loss():
    """Implementations sort what one device holds at a time, so that the result depends on the micro-batch size."""
    whole = aot(compared(D, D_REF), ONES, beta=0.3).mean().item()
    split = torch.cat([aot(compared(D[i : i + 3], D_REF[i : i + 3]), ONES[:3], beta=0.3) for i in (0, 3, 6)])
    assert abs(split.mean().item() - whole) > 0.01


def test_a_coupling_keeps_both_margins():
    mass = torch.rand(9, generator=DRAW, dtype=torch.float64)
    first, second, length = coupling(D, D_REF, mass)
    for index in (first, second):
        close(torch.zeros(9, dtype=torch.float64).index_add(0, index, length), mass, rtol=1e-9, atol=1e-12)
    assert (D[first].diff() >= 0).all() and (D_REF[second].diff() >= 0).all()


# β-DPO


def adaptive(*, state=(0.0, 1.0, 0.0), n=12, seed=1, noise=1.0, **settings):
    """β-DPO on groups; returns the objective, settings, batch and log-probs."""
    objective = objectives.load("beta_dpo")
    names = ("mean", "spread", "steps")
    batch = pack(random_groups(n, seed=seed)).with_state(
        {name: torch.tensor(value).double() for name, value in zip(names, state, strict=True)}
    )
    draw = torch.Generator().manual_seed(4)
    noise_R = noise * torch.randn(len(batch.target_R), generator=draw, dtype=torch.float64)
    return objective, objective.settings(**settings), batch, batch.token["reference"].double() + noise_R


def margin_of(logp_R, batch):
    return pairs(Logps(logp_R), batch).difference


def test_with_everything_kept_and_alpha_0_it_is_dpo():
    objective, settings, batch, logp_R = adaptive(alpha=0.0, keep=1.0, beta=0.3)
    expected = dpo(pairs(Logps(logp_R), batch), beta=0.3)
    close(objective.losses(Logps(logp_R), batch, settings)["beta_dpo"], expected, rtol=1e-12, atol=0)


def test_beta_follows_the_margins_of_kept_pairs_beyond_the_running_mean_and_has_no_gradient():
    """β = β₀(1 + α(M̄_kept − M₀)); ∂ℓ/∂S⁺ = −k·β·σ(−βM), k = pairs per kept pair."""
    objective, settings, batch, logp_R = adaptive(state=(0.5, 3.0, 7.0), beta=0.2, alpha=0.1, keep=0.5)
    logp_R.requires_grad_()
    margin = margin_of(logp_R.detach(), batch)
    kept, beta = selection(Logps(logp_R), batch, settings)
    running = 0.9 * 0.5 + 0.1 * margin.mean()
    assert (kept > 0).sum() == 6 and set(kept.tolist()) == {0.0, 2.0}
    close(beta, 0.2 * (1 + 0.1 * (margin[kept > 0].mean() - running)), rtol=1e-9, atol=0)
    assert not beta.requires_grad
    (slope_R,) = torch.autograd.grad(objective.losses(Logps(logp_R), batch, settings)["beta_dpo"].sum(), logp_R)
    pull = -kept * beta * torch.sigmoid(-beta * margin)
    expected_S = torch.zeros(batch.responses, dtype=torch.float64)
    expected_S[batch.winner_E], expected_S[batch.loser_E] = pull, -pull
    close(slope_R, expected_S[batch.response_R], rtol=1e-9, atol=1e-12)


def test_beta_has_a_floor():
    _, settings, batch, logp_R = adaptive(state=(500.0, 1.0, 0.0), alpha=1.0)
    assert selection(Logps(logp_R), batch, settings)[1].item() == pytest.approx(1e-3)


def test_the_running_mean_and_spread_are_exponential_averages_over_steps():
    objective, settings, batch, logp_R = adaptive(state=(0.5, 3.0, 7.0), momentum=0.75)
    margin = margin_of(logp_R, batch)
    after = objective.update(Logps(logp_R), batch, settings)
    assert after["mean"].item() == pytest.approx(0.75 * 0.5 + 0.25 * margin.mean().item(), rel=1e-12)
    assert after["spread"].item() == pytest.approx(0.75 * 3 + 0.25 * margin.std(correction=0).item(), rel=1e-12)
    assert after["steps"].item() == 8


def test_pairs_are_drawn_by_the_gaussian_weight_of_their_margins():
    """Of three pairs one is kept: each as often as its weight, over 1,500 steps."""
    _, settings, batch, _ = adaptive(n=3, keep=0.34, momentum=0.0)
    logp_R, times = batch.token["reference"].double(), np.zeros(3)
    first_E = [int((batch.response_R == s).nonzero()[0]) for s in batch.winner_E]
    logp_R[first_E] += torch.tensor([0.0, 2.0, 3.0], dtype=torch.float64)
    for step in range(1500):
        batch = batch.with_state({**batch.state, "steps": torch.tensor(float(step))})
        times += (selection(Logps(logp_R), batch, settings)[0] > 0).numpy()
    mean, spread = 5 / 3, np.std([0.0, 2.0, 3.0])
    weight = np.exp(-0.5 * ((np.array([0.0, 2.0, 3.0]) - mean) / spread) ** 2)
    share = weight / weight.sum()
    assert (np.abs(times / 1500 - share) < 4 * np.sqrt(share * (1 - share) / 1500)).all()


# WPO


def test_the_weight_of_a_pair_is_written_out_from_the_full_distribution():
    groups = random_groups(4, k=2, seed=3)
    model = tiny_llama(dtype=torch.float64)
    batch = pack(groups)
    objective = objectives.load("wpo")
    with torch.no_grad():
        logps = Policy(model)(batch, objective.needs(objective.settings()))
        excess = []
        for group in groups:
            for response, mask in zip(group.responses, group.loss, strict=True):
                ids = torch.tensor([*group.prompt, *response])
                table = torch.log_softmax(model(input_ids=ids[None]).logits[0, :-1], -1)[len(group.prompt) - 1 :]
                own = table.gather(1, ids[len(group.prompt) :, None]).squeeze(1)
                excess.append((own - table.exp().square().sum(1).log())[torch.tensor(mask)].mean())
    expected = (torch.stack(excess[::2]) + torch.stack(excess[1::2])).clamp(max=0).exp()
    close(pair_weight(logps, batch), expected, rtol=1e-4, atol=1e-9)
    assert expected.min() < 0.5


def test_a_token_drawn_from_the_policy_has_weight_one_in_the_mean():
    """E_{v~π}[π(v)/Σπ²] = 1."""
    p = torch.softmax(torch.randn(50, generator=DRAW, dtype=torch.float64) * 2, 0)
    assert (p * p / p.square().sum()).sum().item() == pytest.approx(1, abs=1e-14)
    batch = pack(random_groups(3, k=2))
    logp_R = torch.full((len(batch.target_R),), -2.0)
    close(pair_weight(Logps(logp_R, square_R=logp_R.exp()), batch), [1.0] * 3)


def test_the_weight_is_a_mean_over_tokens_held_at_one_and_without_gradient():
    """Implementations leave the limit out, differentiate it, or take e to sums, which is 0 for any real response."""
    batch = pack(random_groups(3, k=2, seed=1))
    for level, expected in ((-2.5, math.exp(-1.0)), (-1.5, 1.0)):
        logp_R = torch.full((len(batch.target_R),), level, dtype=torch.float64, requires_grad=True)
        weight = pair_weight(Logps(logp_R, square_R=torch.full_like(logp_R, math.exp(-2)).detach()), batch)
        close(weight, [expected] * 3, rtol=1e-12, atol=0)
        assert not weight.requires_grad


def test_wpo_pulls_as_dpo_does_times_the_weight():
    weight = torch.linspace(0.1, 1, 81, dtype=torch.float64)
    view, plain = margins(H), margins(H)
    found, expected = slopes(wpo(view, weight, beta=0.3), view), slopes(dpo(plain, beta=0.3), plain)
    for one, other in zip(found, expected, strict=True):
        close(one, weight * other, rtol=1e-12, atol=0)


# TDPO


def drifting(form, alpha=0.5):
    """TDPO at every margin, with drifts on both sides; returns loss, pull and the slopes by h, D⁺ and D⁻."""
    view = margins(H)
    won, lost = (torch.linspace(*span, 81, dtype=torch.float64).requires_grad_() for span in ((0, 6), (9, 1)))
    loss = tdpo(view, (won, lost), beta=0.3, form=form, alpha=alpha)
    slope = torch.autograd.grad(loss.sum(), (view.chosen, won, lost), allow_unused=True)
    weight = 1.0 if form == "tdpo1" else alpha
    pull = 0.3 * torch.sigmoid(-0.3 * (H + weight * (won - lost).detach()))
    return loss.detach(), pull, slope


def test_tdpo1_pulls_both_drifts_and_tdpo2_that_of_the_rejected_response_alone():
    """tdpo1: ∂ℓ/∂D⁺ = −βσ(−z), ∂ℓ/∂D⁻ = +βσ(−z); tdpo2: none on D⁺ and α times it on D⁻."""
    _, pull, (by_margin, by_won, by_lost) = drifting("tdpo1")
    close(by_margin, -pull, rtol=3e-9, atol=0)
    close(by_won, -pull, rtol=3e-9, atol=0)
    close(by_lost, pull, rtol=3e-9, atol=0)
    _, pull, (by_margin, by_won, by_lost) = drifting("tdpo2", alpha=0.7)
    close(by_margin, -pull, rtol=3e-9, atol=0)
    close(by_lost, 0.7 * pull, rtol=3e-9, atol=0)
    assert by_won is None


def test_without_drift_tdpo_is_dpo_and_both_forms_agree_in_value_at_alpha_1():
    none = torch.zeros(81, dtype=torch.float64)
    for form in ("tdpo1", "tdpo2"):
        close(tdpo(margins(H), (none, none), beta=0.3, form=form, alpha=0.5), dpo(margins(H), beta=0.3), rtol=0, atol=0)
    close(drifting("tdpo2", alpha=1.0)[0], drifting("tdpo1")[0], rtol=0, atol=0)


def test_alpha_is_refused_where_it_would_be_ignored():
    with pytest.raises(ValueError, match="alpha is 0.3, which form tdpo1 does not have"):
        objectives.load("tdpo").settings(form="tdpo1", alpha=0.3)
