"""Labels of a phase, and losses in its first inner step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from logratio import objectives
from logratio.batch.logps import Logps
from logratio.batch.packed import pack
from logratio.errors import ConfigError
from logratio.exact.tree import tree
from logratio.maths.advantages import group_advantages
from logratio.objectives import dpo, labelling, nash_md, onpolicy
from logratio.objectives.mixture import with_sft
from logratio.testing.cases import case, variants
from logratio.testing.enumerated import random_setting
from logratio.testing.worlds import KINDS, random_groups, with_rivals

POLICY_GRADIENTS = ("grpo", "gspo", "rloo", "reinforce_pp", "nash_md")


def phase(n=5, **changes):
    return random_groups(n, **{**KINDS["prompts"], **changes})


def labelled(name, groups, **settings):
    objective = objectives.load(name)
    return objective.label(groups, objective.settings(**settings), {})[0]


def first_step(groups):
    """The groups as in the first inner step: no policy is older than the present one."""
    columns = [{name: own for name, own in group.columns.token.items() if name != "old"} for group in groups]
    return [
        group.__class__(
            group.row,
            group.prompt,
            group.responses,
            group.loss,
            group.edges,
            group.columns.__class__(token, group.columns.response, group.columns.edge, group.columns.group),
        )
        for group, token in zip(groups, columns, strict=True)
    ]


@pytest.mark.parametrize("name", POLICY_GRADIENTS)
def test_in_the_first_inner_step_the_ratio_is_exactly_1_and_the_gradient_that_of_reinforce(name):
    """In float32, to the last bit: each response's loss is −A, its gradient −A on each token of its sum."""
    objective = objectives.load(name)
    settings = objective.settings(**({"beta": 0.0} if name == "grpo" else {}))
    groups = labelled(name, phase())
    batch = pack(first_step(groups))
    leaf_R = (torch.randn(len(batch.target_R), generator=torch.Generator().manual_seed(0)) - 5).requires_grad_()
    (loss,) = objective.losses(Logps(leaf_R), batch, settings).values()
    advantage_R = batch.token["advantage"]
    mean_S = batch.sum_by_response(advantage_R) / batch.length_S
    assert torch.allclose(loss, -mean_S, rtol=1e-6, atol=1e-7)
    (slope_R,) = torch.autograd.grad(loss.sum(), leaf_R)
    per_token = name in ("grpo", "gspo", "reinforce_pp")
    scale_R = batch.length_S.index_select(0, batch.response_R) if per_token else torch.ones_like(leaf_R)
    expected_R = advantage_R if name == "reinforce_pp" else mean_S.index_select(0, batch.response_R)
    assert torch.allclose(slope_R, -expected_R / scale_R, rtol=1e-5, atol=1e-7)
    found = objective.measured(Logps(leaf_R), batch, settings)
    assert all((found[key].value == 0).all() for key in ("kl_old_k1", "kl_old_k3"))
    assert all((found[key].value == 0).all() for key in ("clip_low", "clip_high") if key in found)


def test_a_clipped_token_has_no_gradient_and_is_counted():
    grpo = objectives.load("grpo")
    settings = grpo.settings(beta=0.0, clip_low=0.1, clip_high=0.3)
    batch = pack(labelled("grpo", phase()))
    for ratio, sign, which in ((1.29, 1, None), (1.31, 1, "clip_high"), (0.91, -1, None), (0.89, -1, "clip_low")):
        fixed = batch.with_token(advantage=torch.full_like(batch.token["advantage"], float(sign)))
        leaf_R = (fixed.token["old"].double() + np.log(ratio)).requires_grad_()
        (loss,) = grpo.losses(Logps(leaf_R), fixed, settings).values()
        (slope_R,) = torch.autograd.grad(loss.sum(), leaf_R)
        found = grpo.measured(Logps(leaf_R), fixed, settings)
        assert bool((slope_R == 0).all()) == (which is not None)
        assert all((found[key].value == (key == which)).all() for key in ("clip_low", "clip_high"))


def test_denominators_are_what_they_are_called():
    groups = phase()
    values = {}
    for denominator, constant in (("response", None), ("constant", 7), ("token", None)):
        grpo = objectives.load("grpo")
        settings = grpo.settings(beta=0.0, denominator=denominator, constant=constant)
        batch = pack(first_step(labelled("grpo", groups)))
        (values[denominator],) = grpo.losses(Logps(torch.full((len(batch.target_R),), -2.0)), batch, settings).values()
        assert grpo.terms(settings)["policy"].unit == ("token" if denominator == "token" else "response")
    length_S = batch.length_S
    assert torch.allclose(values["response"] * length_S / 7, values["constant"], atol=1e-6)
    assert torch.allclose(batch.sum_by_response(values["token"]), values["constant"] * 7, atol=1e-5)
    assert len(length_S.unique()) > 2


def test_advantages_are_those_of_each_group():
    groups = phase()
    same = groups[0].with_columns(response={"score": np.full(4, 3.0, np.float32)})
    made = labelled("grpo", [same, *groups[1:]])
    assert not made[0].columns.token["advantage"].any()
    for group in made[1:]:
        expected = group_advantages(group.columns.response["score"], normalise="population")
        found = np.split(group.columns.token["advantage"], np.cumsum(labelling.lengths(group))[:-1])
        for own, value in zip(found, expected, strict=True):
            assert own == pytest.approx(np.full(len(own), value), abs=1e-6)


def test_rounding_of_log_probs_is_not_scaled_up_to_an_advantage():
    """Scores of 0 and a policy that is the reference but for rounding: nothing tells the responses apart."""
    group = phase(1)[0].with_columns(response={"score": np.zeros(4, np.float32)})
    for off, dead in ((1e-7, True), (1e-3, False)):
        noise = 1 + off * np.array([1, -1] * len(group.columns.token["old"]))[: len(group.columns.token["old"])]
        near = group.with_columns(token={"reference": (group.columns.token["old"] * noise).astype(np.float32)})
        (made,) = labelled("grpo", [near], kl="k1_reward")
        assert bool(made.columns.token["advantage"].any()) is not dead


def test_the_punishment_of_length_is_part_of_the_score():
    group = phase(1)[0]
    settings = {"beta": 0.0, "normalise": "none", "overlong_start": 2, "overlong_end": 12}
    (plain,), (made,) = labelled("grpo", [group], beta=0.0, normalise="none"), labelled("grpo", [group], **settings)
    lengths = labelling.lengths(group)
    lost = -np.clip((lengths - 2) / 10, 0, 1)
    by_hand = group_advantages(group.columns.response["score"] + lost)
    ends = np.cumsum(lengths) - 1
    assert made.columns.token["advantage"][ends] == pytest.approx(by_hand, abs=1e-6)
    assert abs(made.columns.token["advantage"] - plain.columns.token["advantage"]).max() > 0.05


def test_a_failed_judgement_is_left_out_of_its_group():
    group = phase(1)[0]
    score = group.columns.response["score"].copy()
    score[1] = np.nan
    weight = np.array([1, 0, 1, 1], np.float32)
    broken = group.with_columns(response={"score": score, "weight": weight})
    for name in ("grpo", "gspo", "rloo", "reinforce_pp"):
        (made,) = labelled(name, [broken])
        advantage = np.split(made.columns.token["advantage"], np.cumsum(labelling.lengths(group))[:-1])
        assert all(np.isfinite(own).all() for own in advantage) and not advantage[1].any()
        assert any(own.any() for own in advantage)
        objective, batch = objectives.load(name), pack([made])
        given = objective.settings()
        found = objective.measured(Logps(batch.token["old"] - 0.1), batch, given)
        assert all(bool(torch.stack(metric.total()).isfinite().all()) for metric in found.values())
        kept = [float(own) for own, counts in zip(score, weight, strict=True) if counts]
        total, count = found["reward"].total()
        assert total / count == pytest.approx(np.mean(kept), abs=1e-6)


def test_rewards_are_whitened_over_the_whole_phase_and_not_by_group():
    made = labelled("reinforce_pp", phase(), beta=0.0)
    joined = np.concatenate([group.columns.token["advantage"] for group in made])
    assert joined.mean() == pytest.approx(0, abs=1e-6) and joined.std() == pytest.approx(1, abs=1e-5)
    assert abs(made[0].columns.token["advantage"].mean()) > 0.05


def test_the_trainer_s_own_log_probs_go_before_the_sampler_s():
    group = phase(1)[0]
    assert (labelling.own_logps(group) == group.columns.token["old"]).all()
    (bare,) = first_step([group])
    assert (labelling.own_logps(bare) == group.columns.token["sampled"]).all()


@pytest.mark.parametrize("name", ["grpo", "gspo", "rloo"])
def test_one_response_a_prompt_is_refused_with_the_remedy(name):
    with pytest.raises(ConfigError, match=f"rollout.k is 1, but {name} .* set rollout.k to 2"):
        labelled(name, phase(2, k=1))


def test_what_an_objective_says_that_it_needs_is_what_its_label_refuses_to_go_without():
    told = {}
    for name in objectives.names():
        objective = objectives.load(name)
        for settings in variants(objective) if objective.data == "prompts" else ():
            try:
                case(objective, settings, k=1)
                enough = 1
            except ConfigError:
                enough = 2
            assert objective.responses(settings) == enough, (name, settings)
            told.setdefault(name, set()).add(enough)
    assert told.pop("reinforce_pp") == told.pop("nash_md") == {1, 2}  # as they are set
    assert {name for name, found in told.items() if found == {2}} == {"grpo", "gspo", "rloo"}
    assert {name for name, found in told.items() if found == {1}} >= {"ppo", "xpo"}


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("grpo", {"denominator": "constant"}, "constant is None with denominator constant"),
        ("grpo", {"constant": 128}, "constant is 128 with denominator response"),
        ("reinforce_pp", {"constant": 128}, "constant is 128 with denominator response"),
        ("grpo", {"overlong_start": 10}, "overlong_start is 10 and overlong_end None"),
        ("grpo", {"overlong_start": 10, "overlong_end": 10}, "start must be below end"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(name, settings, message):
    with pytest.raises(ValidationError, match=message):
        objectives.load(name).settings(**settings)


def test_wins_are_against_the_rival_where_there_is_one_and_else_against_each_other():
    (group,) = random_groups(1, **{**KINDS["prompts"], "k": 3})
    group = group.with_columns(edge={"probability": np.array([0.9, 0.2, 0.6], np.float32)})  # of (0,1), (0,2), (1,2)
    assert nash_md.wins(group) == pytest.approx([(0.9 + 0.2) / 2, (0.1 + 0.6) / 2, (0.8 + 0.4) / 2])
    rival = np.array([0, 0, 1], np.float32)
    against = group.with_columns(response={"rival": rival, "weight": 1 - rival})
    assert nash_md.wins(against)[:2] == pytest.approx([0.2, 0.6]) and np.isnan(nash_md.wins(against)[2])
    unjudged = against.with_columns(edge={"weight": np.array([1, 0, 1], np.float32)})
    (made,) = labelled("nash_md", [unjudged])
    assert made.columns.response["weight"].tolist() == [0, 1, 0]
    own = np.split(made.columns.token["advantage"], np.cumsum(labelling.lengths(group))[:-1])
    assert not own[0].any() and own[1].any() and not own[2].any()


def test_xpo_learns_from_pairs_with_the_reference_s_response_alone():
    (group,) = labelled("xpo", with_rivals(phase(1)))
    across = [(i < 2) != (j < 2) for i, j in group.edges]
    assert (group.columns.edge["weight"] > 0).tolist() == across and 0 < sum(across) < len(across)
    xpo = objectives.load("xpo")
    batch = pack([group])
    logp_R = batch.token["reference"].double() - 0.1
    optimism = xpo.losses(Logps(logp_R), batch, xpo.settings())["optimism"]
    sums = batch.sum_by_response(logp_R)
    expected = [sums[j if j >= 2 else i] for i, j in group.edges if (i < 2) != (j < 2)]
    assert torch.allclose(optimism[torch.tensor(across)], torch.stack(expected))


def test_rivals_are_asked_for_by_those_that_need_them():
    asked = {name: objectives.load(name) for name in objectives.names()}
    found = {name: own.rivals(own.settings()) for name, own in asked.items()}
    assert {name for name, share in found.items() if share} == {"nash_md", "xpo"}
    assert found["nash_md"] == 0.125 and found["xpo"] == 1.0
    assert asked["nash_md"].rivals(asked["nash_md"].settings(mixture=0.0)) == 0


def test_a_label_of_pairs_is_kept_beside_a_supervised_term():
    """With the objective's own settings, as its losses have them."""
    seen = []

    def label(groups, settings, state):
        seen.append(settings.model_dump())
        return groups[:1], {"told": 1.0}

    both = with_sft(replace(dpo.OBJECTIVE, label=label))
    groups = phase(2)
    assert both.label(groups, both.settings(beta=0.3, sft_weight=0.5), {}) == (groups[:1], {"told": 1.0})
    assert seen == [dpo.DpoSettings(beta=0.3).model_dump()]
    assert dpo.OBJECTIVE.label(groups, dpo.DpoSettings(), {"told": 1.0}) == (groups, {})


def test_the_entropy_is_that_of_the_policy_at_the_states_that_were_drawn_also_where_it_has_moved():
    """All responses of a tree, each as heavy as it is probable under the policy that drew."""
    world = tree(3, 2)
    old, now = (random_setting(world, seed=seed).policy_PV for seed in (0, 1))
    old_R, now_R = world.token_logps(old), world.token_logps(now)
    share_Y = world.logps(old).exp()
    exact = (
        -(world.visits(old) * (now.softmax(-1) * now.log_softmax(-1)).sum(-1)).sum() / (share_Y * world.length_Y).sum()
    )
    group = random_groups(1, k=1)[0]
    ones = [np.ones(len(own), bool) for own in world.sequences]
    tokens = tuple(np.array(own, np.int32) for own in world.sequences)
    bare = replace(group, responses=tokens, loss=tuple(ones), columns=replace(group.columns, token={}, response={}))
    made = bare.with_columns(
        token={"old": old_R.numpy()}, response={"weight": share_Y.numpy(), "ended": np.ones(len(tokens))}
    )
    for logp_R, expected in ((now_R, exact), (old_R, None)):
        value, weight = onpolicy.phase_metrics(Logps(logp_R), pack([made]))["entropy"].total()
        if expected is None:
            rows = -(old.softmax(-1) * old.log_softmax(-1)).sum(-1)
            expected = (world.visits(old) * rows).sum() / (share_Y * world.length_Y).sum()
        assert (value / weight).item() == pytest.approx(expected.item(), abs=1e-12)
