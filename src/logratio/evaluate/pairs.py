"""Does the policy rank pairs as people did? Accuracy, margin and log-ratios, beside what length alone would say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from ..batch.group import Floats, Group
from ..maths.intervals import NOTHING, Measure
from ..objectives import views
from ..objectives.metrics import Metric, pair_metrics
from .measure import Scored

NAMES = (
    "accuracy",
    "margin",
    "effective_gradient",
    "saturated",
    "confidence",
    "logratio_chosen",
    "logratio_rejected",
    "logratio_chosen_per_token",
    "logratio_rejected_per_token",
    "logp_chosen_per_token",
    "logp_rejected_per_token",
)
"""What `pair_measures` returns."""

Rule = Literal["longer wins", "shorter wins"]


def pair_measures(
    groups: Sequence[Group], policy: Sequence[Floats], reference: Sequence[Floats] | None, *, beta: float
) -> dict[str, Measure]:
    """Return accuracy, margin and log-ratios by the names and formulas of `logratio.metrics`.

    Pairs that people called a tie have no winner and are left out.

    Args:
        groups: Groups with edges.
        policy: Scored log-probs under the policy, one array a group.
        reference: The same under the reference; None where there is none, and nothing is known.
        beta: Scales the margin, 1/nat.
    """
    if reference is None:
        return dict.fromkeys(NAMES, NOTHING)
    groups = [group.with_columns(token={"reference": own}) for group, own in zip(groups, reference, strict=True)]
    scored = Scored.of(groups, policy)
    pairs = views.pairs(scored.logps, scored.batch)
    metrics = pair_metrics(pairs, beta=beta)
    return {name: scored.measure(name, _decided(metric, scored)) for name, metric in metrics.items()}


def text_measures(groups: Sequence[Group], policy: Sequence[Floats]) -> dict[str, Measure]:
    """Return what needs no reference: loss per token of both sides, and accuracy of the plain log-prob.

    `likelihood_accuracy` is the share of pairs with log π(y⁺|x) > log π(y⁻|x), ½ where equal.
    """
    scored = Scored.of(groups, policy)
    batch = scored.batch
    logp_S, length_S = batch.sum_by_response(scored.logps.policy_R), batch.length_S.double()
    sides = {"chosen": batch.winner_E, "rejected": batch.loser_E}
    nll = {
        f"nll_{side}_per_token": Metric(-(logp_S / length_S)[index_E], "edge", length_S[index_E])
        for side, index_E in sides.items()
    }
    right = Metric(_wins(logp_S[batch.winner_E], logp_S[batch.loser_E]), "edge")
    measures = {name: scored.measure(name, _decided(metric, scored)) for name, metric in nll.items()}
    return {**measures, "likelihood_accuracy": scored.share(_decided(right, scored))}


def length_baseline(groups: Sequence[Group]) -> tuple[Measure, Rule]:
    """Return the accuracy of judging by length alone, and the rule: whichever of longer and shorter wins more often.

    Lengths are scored tokens; equal lengths count ½. Choosing the better rule on these very pairs favours the baseline.
    """
    scored = Scored.of(groups, [])
    length_S = scored.batch.length_S
    longer_E = _wins(length_S[scored.batch.winner_E], length_S[scored.batch.loser_E])
    longer = scored.share(_decided(Metric(longer_E, "edge"), scored))
    if longer.mean is None or longer.mean >= 0.5:
        return longer, "longer wins"
    return scored.share(_decided(Metric(1 - longer_E, "edge"), scored)), "shorter wins"


def _wins(winner_E: Tensor, loser_E: Tensor) -> Tensor:
    return (torch.sign(winner_E - loser_E) + 1) / 2


def _decided(metric: Metric, scored: Scored) -> Metric:
    """Give pairs without a winner weight 0."""
    ties_E = scored.batch.edge.get("tie")
    if ties_E is None:
        return metric
    weight_E = torch.ones_like(metric.value) if metric.weight is None else metric.weight
    return replace(metric, weight=weight_E * (ties_E == 0))
