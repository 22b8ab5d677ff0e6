"""PPO's labels and losses by hand: one test for each detail that docs/ppo.md lists."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from logratio import objectives
from logratio.batch.group import Group
from logratio.batch.logps import Logps
from logratio.batch.packed import pack
from logratio.objectives.ppo import PpoSettings, label, next_beta, rewards, value_loss
from logratio.testing.worlds import random_groups

PPO = objectives.load("ppo")
PLAIN = {"whiten": False, "beta": 0.5, "lam": 1.0}
DRAW = np.random.default_rng(3)


def group(*lengths, score=None, ended=None, weight=None, seed=0):
    """A judged group of float64 columns, reference and values drawn anew."""
    draw, count = np.random.default_rng(seed), len(lengths)
    tokens = sum(lengths)
    made = Group(
        seed,
        np.ones(2, np.int32),
        tuple(np.ones(length, np.int32) for length in lengths),
        tuple(np.ones(length, np.bool_) for length in lengths),
        np.zeros((0, 2), np.int32),
    )
    return made.with_columns(
        token={name: -draw.random(tokens) - 0.1 for name in ("old", "sampled", "reference")}
        | {"value_old": draw.normal(size=tokens)},
        response={
            "score": np.array(score if score is not None else draw.normal(size=count)),
            "ended": np.array(ended if ended is not None else [1.0] * count),
            "weight": np.array(weight if weight is not None else [1.0] * count),
        },
        edge={"weight": np.zeros(0)},
    )


def log_ratio(own):
    return own.columns.token["old"] - own.columns.token["reference"]


def labelled(groups, centre_scores=False, **settings):
    """Label a first phase, with scores as they are unless asked otherwise."""
    chosen = PpoSettings(centre_scores=centre_scores, **settings)
    return label(groups, chosen, PPO.state(chosen))


def columns(groups, name):
    return np.concatenate([own.columns.token[name] for own in groups])


def test_the_penalty_is_in_every_tokens_reward_and_the_score_in_the_last_ones():
    own = group(3, 1, 2, score=[1.0, 2.0, 3.0])
    found = rewards(own, PpoSettings(**PLAIN), 0.5)
    expected = -0.5 * log_ratio(own)
    expected[[2, 3, 5]] += [1.0, 2.0, 3.0]
    assert found == pytest.approx(expected, abs=1e-15)


def test_the_trainers_log_probs_count_and_not_the_samplers():
    own = group(3)
    other = own.with_columns(token={"sampled": own.columns.token["sampled"] - 1})
    assert np.array_equal(rewards(own, PpoSettings(), 0.5), rewards(other, PpoSettings(), 0.5))


def test_a_response_that_did_not_end_has_the_score_of_missing_eos():
    own = group(2, 2, score=[5.0, 5.0], ended=[1.0, 0.0])
    found = rewards(own, PpoSettings(), 0.0)
    assert found == pytest.approx([0, 5, 0, -1])
    assert rewards(own, PpoSettings(missing_eos=None), 0.0) == pytest.approx([0, 5, 0, 5])


def test_scores_beyond_the_clip_count_as_it_and_missing_eos_is_no_score():
    own = group(1, 1, 1, 1, score=[50.0, -50.0, 0.5, 0.0], ended=[1.0, 1.0, 1.0, 0.0])
    found = rewards(own, PpoSettings(score_clip=2.0, missing_eos=-9.0), 0.0)
    assert found.tolist() == [2.0, -2.0, 0.5, -9.0]


def test_with_lambda_and_gamma_1_the_advantage_is_what_is_still_to_come_less_the_value():
    own = group(3, 2)
    (made,), _ = labelled([own], **PLAIN)
    reward = rewards(own, PpoSettings(**PLAIN), 0.5)
    to_come = np.concatenate([part[::-1].cumsum()[::-1] for part in np.split(reward, [3])])
    assert made.columns.token["advantage"] == pytest.approx(to_come - own.columns.token["value_old"], abs=1e-12)
    assert made.columns.token["return"] == pytest.approx(to_come, abs=1e-12)


def test_what_the_first_phase_earns_beyond_its_values_is_taken_from_all_scores():
    """With γ = 1 that is a critic which begins higher by as much: what is trained on differs in nothing else."""
    groups = [group(3, 1, 2, score=[0.4, 0.6, 0.8], seed=seed) for seed in range(3)]
    settings = {"lam": 0.9, "whiten": False, "missing_eos": None}
    made, state = labelled(groups, centre_scores=True, **settings)
    origin = state["score_origin"]
    earned = [part.sum() for own in groups for part in np.split(rewards(own, PpoSettings(**settings), 0.05), [3, 4])]
    first = [value for own in groups for value in own.columns.token["value_old"][[0, 3, 4]]]
    assert origin == pytest.approx(np.mean(earned) - np.mean(first), abs=1e-12)
    higher = [own.with_columns(token={"value_old": own.columns.token["value_old"] + origin}) for own in groups]
    bare, _ = labelled(higher, **settings)
    assert columns(made, "advantage") == pytest.approx(columns(bare, "advantage"), abs=1e-12)
    assert columns(made, "return") == pytest.approx(columns(bare, "return") - origin, abs=1e-12)


def test_a_constant_added_to_all_scores_changes_nothing_and_later_phases_keep_the_origin():
    def phase(seed, shift, state=None):
        groups = [group(3, 1, 2, seed=seed), group(2, 2, seed=seed + 1)]
        for own in groups:
            own.columns.response["score"] += shift
        return label(groups, settings, state or PPO.state(settings))

    settings = PpoSettings(missing_eos=None)
    (first, state), (shifted, other) = phase(0, 0.0), phase(0, 5.0)
    assert columns(first, "advantage") == pytest.approx(columns(shifted, "advantage"), abs=1e-9)
    assert other["score_origin"] == pytest.approx(state["score_origin"] + 5, abs=1e-12)
    (second, later), (again, _) = phase(8, 0.0, state), phase(8, 5.0, other)
    assert later["score_origin"] == state["score_origin"]
    assert columns(second, "return") == pytest.approx(columns(again, "return"), abs=1e-9)


def test_a_first_phase_without_a_verdict_leaves_the_origin_to_the_next():
    lost = [group(2, 2, score=[np.nan, np.nan], weight=[0.0, 0.0])]
    _, state = labelled(lost, centre_scores=True)
    assert (state["score_origin"], state["score_settled"]) == (0.0, 0.0)
    assert PPO.state(PpoSettings(centre_scores=False)) == {"kl_coefficient": 0.05}


def test_advantages_are_whitened_over_the_whole_phase_and_returns_are_not():
    groups = [group(3, 2, seed=seed) for seed in range(4)]
    made, _ = labelled(groups, lam=0.9)
    bare, _ = labelled(groups, lam=0.9, whiten=False)
    raw, white = columns(bare, "advantage"), columns(made, "advantage")
    assert white == pytest.approx((raw - raw.mean()) / np.sqrt(raw.var() + 1e-8), abs=1e-12)
    assert np.array_equal(columns(made, "return"), columns(bare, "return"))
    assert columns(bare, "return") == pytest.approx(raw + columns(groups, "value_old"))


def test_rewards_are_whitened_without_moving_their_mean():
    groups = [group(3, 2, seed=seed) for seed in range(4)]
    still = [own.with_columns(token={"value_old": np.zeros(5)}) for own in groups]
    made, _ = labelled(still, whiten=False, whiten_rewards=True, lam=0.0, gamma=0.0)  # the advantage is the reward
    raw = np.concatenate([rewards(own, PpoSettings(), 0.05) for own in still])
    found = columns(made, "advantage")
    assert found == pytest.approx((raw - raw.mean()) / np.sqrt(raw.var() + 1e-8) + raw.mean(), abs=1e-12)


def test_what_was_not_judged_counts_in_no_mean_and_poisons_nothing():
    failed = group(2, 2, score=[np.nan, np.nan], weight=[0.0, 0.0], seed=7)
    others = [group(3, 2, seed=seed) for seed in range(3)]
    alone, first = labelled(others, kl_target=1.0)
    beside, second = labelled([*others, failed], kl_target=1.0)
    assert columns(beside[:3], "advantage") == pytest.approx(columns(alone, "advantage"), abs=1e-12)
    assert first == second and np.isfinite(columns(beside, "advantage")).all()


def test_beta_rises_above_the_target_falls_below_and_never_by_more_than_a_fifth():
    assert next_beta(0.1, 6.0, target=6.0, responses=100, horizon=1000) == 0.1
    assert next_beta(0.1, 6.6, target=6.0, responses=100, horizon=1000) == pytest.approx(0.1 * (1 + 0.1 * 0.1))
    assert next_beta(0.1, 60.0, target=6.0, responses=100, horizon=1000) == pytest.approx(0.1 * 1.02)
    assert next_beta(0.1, -9.0, target=6.0, responses=100, horizon=1000) == pytest.approx(0.1 * 0.98)
    for responses in (1000, 1024, 10**6):  # a phase beyond the horizon moves β as one of the horizon's length
        assert next_beta(0.05, 0.0, target=6.0, responses=responses, horizon=1000) == pytest.approx(0.04)
        assert next_beta(0.05, 60.0, target=6.0, responses=responses, horizon=1000) == pytest.approx(0.06)


def test_an_adaptive_beta_follows_the_phases_kl_and_a_fixed_one_stays():
    groups = [group(3, 2, seed=seed) for seed in range(4)]
    penalty = np.mean([part.sum() for own in groups for part in np.split(log_ratio(own), [3])])
    chosen = {"kl_target": 0.05, "kl_horizon": 100.0, "beta": 0.3}
    made, state = labelled(groups, **chosen)
    assert state["kl_coefficient"] == next_beta(0.3, penalty, target=0.05, responses=8, horizon=100.0)
    assert state["kl_coefficient"] != 0.3
    assert made[0].columns.group["kl_coefficient"] == pytest.approx([0.3])  # the phase's own rewards have the old one
    assert labelled(groups, beta=0.3)[1]["kl_coefficient"] == 0.3
    settings = PpoSettings(**chosen)
    later, _ = label(groups, settings, {**PPO.state(settings), "kl_coefficient": 0.6})
    assert later[0].columns.group["kl_coefficient"] == pytest.approx([0.6])


def test_a_horizon_without_a_target_is_refused():
    with pytest.raises(ValidationError, match="kl_horizon is 5 without kl_target"):
        PpoSettings(kl_horizon=5)


def test_a_beta_of_0_that_is_to_follow_the_kl_is_refused():
    with pytest.raises(ValidationError, match="beta is 0 with kl_target 6, .* never moves; begin with a beta above 0"):
        PpoSettings(beta=0, kl_target=6)
    assert PpoSettings(beta=0).kl_target is None and PpoSettings(beta=1e-6, kl_target=6).beta == 1e-6


def floats(values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_value_loss_is_the_larger_of_two_and_half_a_square():
    value = floats([1.5, 1.1, 0.0]).requires_grad_()
    old, returns = floats([1.0, 1.0, 1.0]), floats([2.0, 2.0, 2.0])
    loss = value_loss(value, old, returns, clip=0.2)
    # 1.5 went too far towards the return: held at 1.2; 1.1 is within reach; 0.0 fell away: its own error is larger
    assert loss.tolist() == pytest.approx([0.5 * 0.8**2, 0.5 * 0.9**2, 0.5 * 2.0**2])
    (slope,) = torch.autograd.grad(loss.sum(), value)
    assert slope.tolist() == pytest.approx([0.0, -0.9, -2.0])
    assert value_loss(value, old, returns, clip=None).tolist() == pytest.approx([0.125, 0.405, 2.0])


def batch_of(**settings):
    groups = random_groups(5, k=3, scores=True, phase=True)
    made, state = labelled(groups, **settings)
    return pack(made).with_state({name: torch.tensor(value) for name, value in state.items()})


def test_in_the_first_inner_step_every_ratio_is_exactly_1():
    batch = batch_of()
    bare = {name: column for name, column in batch.token.items() if name != "old"}
    first = replace(batch, token=bare)
    logp_R = (-torch.rand(len(batch.target_R)) - 0.1).requires_grad_()
    logps = Logps(logp_R, entropy_R=torch.ones_like(logp_R), value_R=torch.zeros_like(logp_R))
    losses = PPO.losses(logps, first, PpoSettings())
    assert torch.equal(losses["policy"], -batch.token["advantage"])
    (slope,) = torch.autograd.grad(losses["policy"].sum(), logp_R)
    assert torch.equal(slope, -batch.token["advantage"])  # REINFORCE's, to the bit
    measured = PPO.measured(logps, first, PpoSettings())
    assert not measured["clip_low"].value.any() and not measured["kl_old_k3"].value.any()


def test_ratios_beyond_the_bounds_that_would_gain_more_have_no_gradient():
    batch = batch_of(whiten=False)
    advantage = torch.where(torch.arange(len(batch.target_R)) % 2 == 0, 1.0, -1.0)
    old = torch.full_like(advantage, -1.0)
    batch = batch.with_token(advantage=advantage, old=old)
    for shift, gains in ((0.5, advantage > 0), (-0.5, advantage < 0)):
        logp_R = (old + shift).requires_grad_()
        logps = Logps(logp_R, entropy_R=torch.ones_like(old), value_R=torch.zeros_like(old))
        losses = PPO.losses(logps, batch, PpoSettings())
        (slope,) = torch.autograd.grad(losses["policy"].sum(), logp_R)
        assert not slope[gains].any() and slope[~gains].all()
        measured = PPO.measured(logps, batch, PpoSettings())
        name = "clip_high" if shift > 0 else "clip_low"
        assert torch.equal(measured[name].value > 0, gains)


def test_the_values_share_of_the_loss_is_its_coefficient_and_both_are_means_over_tokens():
    terms = PPO.terms(PpoSettings(value_coefficient=0.3))
    assert {name: (term.unit, term.coefficient) for name, term in terms.items()} == {
        "policy": ("token", 1.0),
        "value": ("token", 0.3),
    }


def test_metrics_tell_how_good_the_critic_is_and_how_far_it_moved():
    groups = [group(3, 2, seed=seed) for seed in range(4)]
    returns = columns(labelled(groups, **PLAIN)[0], "return")
    informed = [
        own.with_columns(token={"value_old": part + 0.1 * DRAW.normal(size=5)})
        for own, part in zip(groups, np.split(returns, 4), strict=True)
    ]
    made, state = labelled(informed, **PLAIN)
    batch = pack(made).with_state({name: torch.tensor(value) for name, value in state.items()})
    value_R = batch.token["value_old"] + torch.where(torch.arange(20) < 5, 0.3, 0.1)
    logps = Logps(batch.token["old"], entropy_R=torch.ones(20), value_R=value_R)
    found = PPO.measured(logps, batch, PpoSettings(**PLAIN))

    def mean(name):
        total, weight = found[name].total()
        return (total / weight).item()

    assert mean("explained_variance") > 0.95 and mean("value_clipped") == 0.25 and mean("kl_coefficient") == 0.5
    assert mean("return") == pytest.approx(returns.mean()) and mean("value") == pytest.approx(value_R.mean().item())
    expected = value_loss(value_R, batch.token["value_old"], batch.token["return"], clip=0.2).mean().item()
    assert mean("value_loss") == pytest.approx(expected)
    assert {"clip_low", "clip_high", "kl_old_k1", "kl_old_k3", "entropy", "ended", "sample_length"} <= found.keys()
