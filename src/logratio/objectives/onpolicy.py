"""What objectives of sampled responses share: ratios, clipping, reductions and metrics."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..batch.logps import Logps
from ..batch.packed import PackedBatch
from ..maths import kl
from .base import Unit
from .metrics import Metric

Denominator = Literal["response", "constant", "token"]
"""How the tokens of a step become a loss: mean over each response's tokens and then over responses (GRPO); their sum
over a constant, mean over responses (Dr. GRPO); or mean over all tokens of the step (DAPO)."""


def old(logps: Logps, batch: PackedBatch) -> Tensor:
    """Return log π_old of each scored token, [R], nats: the policy as it was when the phase began.

    In the first inner step there is no such column, since the policy is that policy: its own log-probs without their
    gradient serve, so that every ratio is exactly 1.
    """
    column_R = batch.token.get("old")
    return logps.policy_R.detach() if column_R is None else column_R.to(logps.policy_R)


def advantage(logps: Logps, batch: PackedBatch) -> Tensor:
    """Return the label's advantage of each scored token, [R]."""
    return batch.token["advantage"].to(logps.policy_R)


def advantage_by_response(logps: Logps, batch: PackedBatch) -> Tensor:
    """Return the advantage of each response, [S], where all its tokens have the same."""
    return batch.sum_by_response(advantage(logps, batch)) / length(logps, batch)


def length(logps: Logps, batch: PackedBatch) -> Tensor:
    """Return the scored tokens of each response, at least 1, [S]."""
    return batch.length_S.to(logps.policy_R).clamp(min=1)


def surrogate(ratio: Tensor, advantage: Tensor, *, clip_low: float | None, clip_high: float | None) -> Tensor:
    """Return −min(ρ·A, clip(ρ, 1 − ε_low, 1 + ε_high)·A), one value an item; −ρ·A where nothing is clipped.

    Schulman et al. 2017 (arXiv:1707.06347), Eq. 7; two bounds: Yu et al. 2025 (arXiv:2503.14476).
    """
    if clip_low is None or clip_high is None:
        return -ratio * advantage
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip_low, 1 + clip_high) * advantage)


def check_constant(denominator: Denominator, constant: int | None) -> None:
    """Refuse a constant without its denominator, and the other way about.

    Raises:
        ValueError: One is set without the other.
    """
    if (denominator == "constant") != (constant is not None):
        raise ValueError(
            f"constant is {constant} with denominator {denominator}; tokens are divided by a constant only if there "
            "is one: set denominator=constant and constant=rollout.max_new_tokens, or neither."
        )


def unit(denominator: Denominator) -> Unit:
    """Return what a term with this reduction counts."""
    return "token" if denominator == "token" else "response"


def reduced(value_R: Tensor, batch: PackedBatch, denominator: Denominator, constant: int | None) -> Tensor:
    """Return a value per token as one per item of `unit(denominator)`; the loop takes the mean over items.

    Args:
        value_R: [R].
        batch: Whose tokens these are.
        denominator: How.
        constant: Tokens to divide by, ≥ 1, with `constant`.
    """
    if denominator == "token":
        return value_R
    sum_S = batch.sum_by_response(value_R)
    return sum_S / (batch.length_S.to(value_R).clamp(min=1) if constant is None else constant)


def phase_metrics(logps: Logps, batch: PackedBatch) -> dict[str, Metric]:
    """Return what every objective of sampled responses is measured by (formulas in `logratio.metrics`).

    Responses of weight 0, those of a rival or without a judgement, are left out.
    """
    weight_S = batch.response["weight"].to(logps.policy_R)
    weight_R = weight_S.index_select(0, batch.response_R)
    policy_R = logps.policy_R.detach()
    old_R = old(logps, batch).detach()
    moved_R = policy_R - old_R
    found = {
        "kl_old_k1": Metric(-moved_R, "token", weight_R),
        "kl_old_k3": Metric(kl.k3(-moved_R), "token", weight_R),
        "entropy": Metric(-kl.ratio(policy_R, old_R) * policy_R, "token", weight_R),
        "sample_length": Metric(batch.length_S, "response", weight_S),
        "ended": Metric(batch.response["ended"], "response", weight_S),
    }
    if "score" in batch.response:
        score_S = torch.where(weight_S > 0, batch.response["score"], 0.0)  # a failed judgement may be NaN
        found["reward"] = Metric(score_S, "response", weight_S)
    if "reference" in batch.token:
        apart_R = policy_R - batch.token["reference"].to(logps.policy_R)
        found["kl_reference_k1"] = Metric(apart_R, "token", weight_R)
        found["kl_reference_k3"] = Metric(kl.k3(apart_R), "token", weight_R)
    if "sampled" in batch.token:
        off_R = (batch.token["sampled"].to(policy_R) - old_R).abs()
        found["sampler_mismatch"] = Metric(off_R, "token", weight_R)
    return found


def clip_metrics(
    ratio: Tensor, advantage: Tensor, weight: Tensor, where: Literal["token", "response"], *, low: float, high: float
) -> dict[str, Metric]:
    """Return which items clipping leaves without a gradient, by the bound that holds them."""
    below, above = (ratio < 1 - low) & (advantage < 0), (ratio > 1 + high) & (advantage > 0)
    return {
        "clip_low": Metric(below.to(ratio), where, weight),
        "clip_high": Metric(above.to(ratio), where, weight),
    }
