"""LD-DPO: DPO that weighs down what a response says beyond the other's length."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from ..batch.logps import Logps
from ..batch.needs import Needs
from ..batch.packed import PackedBatch
from . import views
from .base import Objective, Settings, Term
from .facts import Facts
from .metrics import Metric, pair_metrics


class LdDpoSettings(Settings):
    """Settings of `ld_dpo`."""

    beta: float = Field(0.1, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")
    alpha: float = Field(0.5, ge=0, le=1, description="α: weight of tokens beyond the shorter response's length")


def ld_dpo(opening: views.PairLogps, *, beta: float) -> Tensor:
    """DPO's loss on sums in which the longer response's further tokens count less.

        s(y) = Σ_{t ≤ l} log π(y_t) + α·Σ_{t > l} log π(y_t),   l = min(|y⁺|, |y⁻|)
        ℓ = −log σ(β·[s(y⁺) − s_ref(y⁺) − s(y⁻) + s_ref(y⁻)])

    Liu et al. 2024 (arXiv:2409.06411). α = 1 is DPO; at α = 0 only the common length counts. Policy and reference are
    weighed alike, so the loss is log 2 at the reference; weighing the policy alone, as one implementation does, would
    begin elsewhere.

    Args:
        opening: log-probabilities at E edges, float32 [E], nats, summed as s(y): `views.opening_pairs`, rest = α.
        beta: β > 0, in 1/nat.

    Returns:
        Loss per edge, [E].
    """
    return softplus(-beta * opening.difference)


def _losses(logps: Logps, batch: PackedBatch, settings: LdDpoSettings) -> Mapping[str, Tensor]:
    opening = views.opening_pairs(logps, batch, rest=settings.alpha)
    return {"ld_dpo": views.expected(opening, lambda pairs: ld_dpo(pairs, beta=settings.beta))}


def _metrics(logps: Logps, batch: PackedBatch, settings: LdDpoSettings) -> Mapping[str, Metric]:
    opening = views.opening_pairs(logps, batch, rest=settings.alpha)
    pull = torch.sigmoid(-settings.beta * opening.difference)
    return pair_metrics(views.pairs(logps, batch), beta=settings.beta, pull=pull)


OBJECTIVE = Objective(
    summary="DPO that weighs down tokens beyond the shorter response's length",
    formula="−log σ(β·Δ[s − s_ref]), s = sum over the first min(|y⁺|,|y⁻|) tokens + α·rest, mean over pairs",
    source="Liu et al. 2024 (arXiv:2409.06411)",
    data="pairs",
    settings=LdDpoSettings,
    terms=lambda settings: {"ld_dpo": Term("edge")},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=True),
    facts=Facts(
        at_reference=lambda batch, settings: {"ld_dpo": math.log(2)},
        curve="decreasing",
        swap=lambda settings: settings.beta,
    ),
)
