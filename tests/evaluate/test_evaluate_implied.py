import numpy as np
import pytest
import torch
from torch import sigmoid

from logratio import objectives
from logratio.batch.logps import Logps
from logratio.batch.packed import pack
from logratio.evaluate.apart import Apart
from logratio.evaluate.implied import implied, why_not
from logratio.logps.whole import slots
from logratio.objectives import views
from logratio.testing.cases import case
from worlds import random_groups

IMPLY = {
    "alphapo",
    "cal_dpo",
    "chi_po",
    "dpo",
    "dpo_norm",
    "exo",
    "ipo",
    "ipo_mean",
    "ld_dpo",
    "length_dpo",
    "odpo",
    "reward",
    "robust_dpo",
    "ropo",
    "simpo",
    "sppo",
    "tdpo",
    "wpo",
}
"""Objectives of which a margin tells how often a response wins."""


def found(name, groups=None, **settings):
    objective = objectives.load(name)
    chosen = objective.settings(**settings)
    given = case(objective, chosen, n=12, weights=True) if groups is None else case(objective, chosen)
    if groups is not None:
        given = given.__class__(objective, chosen, groups)
    return implied(objective, chosen, given.groups, given.logps(given.logp_R), {}), given


def pairs_of(given):
    return views.pairs(given.logps(given.logp_R), given.batch)


FORMULAS = {
    "dpo": ({"beta": 0.7}, lambda own: sigmoid(0.7 * own.difference)),
    "dpo smoothed": (
        {"beta": 0.2, "label_smoothing": 0.1},
        lambda own: ((sigmoid(0.2 * own.difference) - 0.1) / 0.8).clamp(0, 1),
    ),
    "dpo beside imitation": ({"sft_weight": 0.5}, lambda own: sigmoid(0.1 * own.difference)),
    "robust_dpo": (
        {"beta": 0.3, "flip_rate": 0.2},
        lambda own: 0.8 * sigmoid(0.3 * own.difference) + 0.2 * sigmoid(-0.3 * own.difference),
    ),
    "ipo": ({"tau": 0.05}, lambda own: (0.5 + 0.05 * own.difference).clamp(0, 1)),
    "length_dpo": (
        {"beta": 0.1, "alpha": 0.05},
        lambda own: sigmoid(0.1 * own.difference + 0.05 * (own.chosen_length - own.rejected_length)),
    ),
    "wpo": ({"beta": 0.4}, lambda own: sigmoid(0.4 * own.difference)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_it_is_the_formula_that_the_loss_is_known_by(name):
    settings, formula = FORMULAS[name]
    calls, given = found(name.split()[0], **settings)
    assert calls.probability == pytest.approx(formula(pairs_of(given)).numpy(), abs=1e-9)


def test_of_a_reward_model_it_is_the_logistic_of_the_scores_whatever_the_centring():
    for centring in (0.0, 0.01, 1.0):
        calls, given = found("reward", centring=centring)
        score_S = given.logps(given.logp_R).score_S
        difference = score_S[given.batch.winner_E] - score_S[given.batch.loser_E]
        assert calls.probability == pytest.approx(sigmoid(difference).numpy(), abs=1e-9)


def test_which_objectives_imply_a_probability_and_why_the_others_do_not():
    reasons = {}
    for name in objectives.names():
        objective = objectives.load(name)
        settings = objective.settings()
        given = case(objective, settings)
        paired = next((group for group in given.groups if len(group.edges)), random_groups(1)[0])
        reasons[name] = why_not(objective, settings, paired)
    assert {name for name, reason in reasons.items() if reason is None} == IMPLY, reasons
    assert "whole step" in reasons["aot"] and "ties" in reasons["dpo_rk"]
    assert "imitates" in reasons["orpo"] and "slope" in reasons["hinge"]
    assert "each response" in reasons["nca"] and "not one of pairs" in reasons["kto"]


@pytest.mark.parametrize("name", sorted(IMPLY - {"reward", "tdpo", "wpo"}))
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_where_a_share_of_judgements_is_for_the_first_the_minimum_implies_that_share(name, share):
    """The loss is minimised over the log-probs themselves, on both verdicts of one pair, weighed as they fall."""
    objective = objectives.load(name)
    settings = objective.settings()
    given = case(objective, settings, n=1)
    leaf = given.batch.token["reference"].double().clone().requires_grad_()
    batch = given.batch
    other = batch.__class__(**{**vars(batch), "winner_E": batch.loser_E, "loser_E": batch.winner_E})
    descent = torch.optim.LBFGS(
        [leaf], max_iter=500, tolerance_grad=1e-13, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def loss():
        descent.zero_grad()
        total = share * given.total(leaf) + (1 - share) * given.total(leaf, other)
        total.backward()
        return total

    for _ in range(5):
        descent.step(loss)
    calls = implied(objective, settings, given.groups, given.logps(leaf.detach()), {})
    assert calls.probability.item() == pytest.approx(share, abs=2e-4)


def test_a_comparison_among_several_implies_what_it_does_alone():
    groups = random_groups(5, k=3, weights=True)
    groups[1] = groups[1].with_columns(edge={"tie": np.array([0, 1, 0], np.float32)})
    groups = [
        group if "tie" in group.columns.edge else group.with_columns(edge={"tie": np.zeros(3, np.float32)})
        for group in groups
    ]
    calls, given = found("dpo", groups=groups)
    own = pairs_of(given)
    decided = given.batch.edge["tie"] == 0
    assert calls.probability == pytest.approx(sigmoid(0.1 * own.difference)[decided].numpy(), abs=1e-9)
    assert len(calls.probability) == 14 and calls.prompt.tolist().count(1) == 2


def test_soft_labels_are_what_calls_are_held_against_not_what_they_are_made_of():
    groups = random_groups(6)
    soft = [group.with_columns(edge={"probability": np.full(1, 0.6, np.float32)}) for group in groups]
    plain, softened = found("dpo", groups=groups)[0], found("dpo", groups=soft)[0]
    assert softened.probability.tolist() == plain.probability.tolist()
    assert softened.preferred == pytest.approx([0.6] * 6) and plain.preferred.tolist() == [1.0] * 6


def test_floats_of_pairs_taken_apart_are_those_of_the_groups():
    groups = random_groups(4, k=3)
    values = torch.arange(sum(group.scored for group in groups)).double()
    apart = Apart.of(groups)
    taken = apart.logps(Logps(values)).policy_R
    sums = pack(apart.pairs).sum_by_response(taken).view(-1, 2)
    whole = pack(groups)
    by_S = whole.sum_by_response(values)
    assert torch.equal(sums[:, 0], by_S[whole.winner_E]) and torch.equal(sums[:, 1], by_S[whole.loser_E])
    assert len(slots(groups, range(4))) == len(values)
