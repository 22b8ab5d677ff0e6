"""Metrics that objectives share: per-item values, reduced by the loop as (Σ w·v, Σ w)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..batch.logps import Logps
from ..batch.packed import PackedBatch
from ..metrics import EQUAL, SATURATED
from .views import PairLogps, PairSums, scored_pairs, scores


@dataclass(frozen=True)
class Metric:
    """Per-item values and the weight of each in the mean.

    Attributes:
        value: One number an item.
        unit: What an item is; "step" for a number of the whole step.
        weight: ≥ 0, one an item; None counts each item once.
    """

    value: Tensor
    unit: Literal["token", "response", "edge", "group", "step"]
    weight: Tensor | None = None

    def total(self) -> tuple[Tensor, Tensor]:
        """Return (Σ w·v, Σ w) as float64 scalars, so that bins and ranks add up exactly."""
        value = self.value.detach().double()
        weight = torch.ones_like(value) if self.weight is None else self.weight.double()
        return (value * weight).sum(), weight.sum()


def pair_metrics(
    pairs: PairLogps, *, beta: float, margin: Tensor | None = None, pull: Tensor | None = None
) -> dict[str, Metric]:
    """Return accuracy, margin and log-ratios of E pairs (formulas in `logratio.metrics`).

    Args:
        pairs: log-probabilities at E edges, nats, summed over response tokens.
        beta: 1/nat; the margin is β·h where none is given.
        margin: Difference of the rewards that the objective implies, [E], where they are not β times log-ratios.
        pull: As `margin_metrics` has it.
    """
    chosen, rejected = pairs.chosen_logratio, pairs.rejected_logratio
    difference = chosen - rejected
    return {
        "accuracy": Metric(_right(difference), "edge"),
        **margin_metrics(beta * difference if margin is None else margin, pull),
        "logratio_chosen": Metric(chosen, "edge"),
        "logratio_rejected": Metric(rejected, "edge"),
        "logratio_chosen_per_token": Metric(chosen / pairs.chosen_length, "edge", pairs.chosen_length),
        "logratio_rejected_per_token": Metric(rejected / pairs.rejected_length, "edge", pairs.rejected_length),
        **_per_token(pairs),
    }


def margin_metrics(margin: Tensor, pull: Tensor | None = None) -> dict[str, Metric]:
    """Return margins of E pairs, and what the logistic function makes of them (formulas in `logratio.metrics`).

    Args:
        margin: Difference of the two responses' rewards, [E].
        pull: Weight of each pair's gradient on the scale of σ(−margin), ½ where a pair without an offset begins, [E];
            None where it is σ(−margin).
    """
    if pull is None:
        pull = torch.sigmoid(-margin)
    return {
        "margin": Metric(margin, "edge"),
        "effective_gradient": Metric(pull, "edge"),
        "saturated": Metric((pull < SATURATED).to(pull), "edge"),
        "confidence": Metric(torch.sigmoid(margin.abs()), "edge"),
    }


def shared_metrics(logps: Logps, batch: PackedBatch) -> dict[str, Metric]:
    """Return what any objective with a reference is measured by (formulas in `logratio.metrics`).

    Responses borrowed from another prompt (response column `mismatched`) or drawn by a rival (`rival`) are left out,
    and so are texts that are mixed in (`text`).
    """
    ratio_R = logps.policy_R - batch.token["reference"].to(logps.policy_R)
    other_S = [batch.response[name] > 0 for name in ("mismatched", "rival", "text") if name in batch.response]
    own_R = None if not other_S else (~torch.stack(other_S).any(0)).float().index_select(0, batch.response_R)
    return {"kl_data": Metric(ratio_R.square() / 2, "token", own_R)}


def raising(slope_R: Tensor, logp_R: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `gradient_raising` is the quotient of: the pull on tokens made more probable, and on all.

    A step lowers the logit of a scored token itself by ∂loss/∂log π(y_t) · (1 − π(y_t)) times its rate; a token that is
    certain already is not pulled, however large its coefficient.

    Args:
        slope_R: ∂loss/∂log π(y_t) of each scored token.
        logp_R: log π(y_t), nats.
    """
    pull_R = slope_R.detach().double().abs() * -torch.expm1(logp_R.detach().double())
    return (pull_R * (slope_R < 0)).sum(), pull_R.sum()


def score_metrics(logps: Logps, batch: PackedBatch) -> dict[str, Metric]:
    """Return a reward model's accuracy, margin and scores (formulas in `logratio.metrics`)."""
    score_S, pairs = scores(logps), scored_pairs(logps, batch)
    difference = pairs.chosen - pairs.rejected
    return {
        "accuracy": Metric(_right(difference), "edge"),
        **margin_metrics(difference),
        "score": Metric(score_S, "response"),
        "score_chosen": Metric(pairs.chosen, "edge"),
        "score_rejected": Metric(pairs.rejected, "edge"),
    }


def _right(difference: Tensor) -> Tensor:
    """Return 1 where a pair is ranked as people did, 0 where not, ½ where equal up to rounding."""
    return (torch.sign(difference) * (difference.abs() > EQUAL) + 1) / 2


def decided(metrics: dict[str, Metric], tie: Tensor) -> dict[str, Metric]:
    """Return metrics of E pairs that leave ties out, since no response of a tie is the better one.

    Args:
        metrics: Per-edge metrics.
        tie: Which pairs are ties, bool [E].
    """
    return {
        name: Metric(metric.value, metric.unit, (~tie) * (1.0 if metric.weight is None else metric.weight))
        for name, metric in metrics.items()
    }


def likelihood_metrics(pairs: PairSums) -> dict[str, Metric]:
    """Return accuracies and log-probs of E pairs by the policy alone (formulas in `logratio.metrics`)."""
    return {
        "likelihood_accuracy": Metric(_wins(pairs.chosen - pairs.rejected), "edge"),
        "per_token_accuracy": Metric(_wins(pairs.chosen_mean - pairs.rejected_mean), "edge"),
        **_per_token(pairs),
    }


def _per_token(pairs: PairSums) -> dict[str, Metric]:
    return {
        "logp_chosen_per_token": Metric(pairs.chosen_mean, "edge", pairs.chosen_length),
        "logp_rejected_per_token": Metric(pairs.rejected_mean, "edge", pairs.rejected_length),
    }


def _wins(difference: Tensor) -> Tensor:
    return (torch.sign(difference) + 1) / 2
