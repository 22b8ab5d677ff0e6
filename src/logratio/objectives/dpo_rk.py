"""DPO with ties by Rao and Kupper: a preference shows only beyond a threshold."""

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
from .facts import PAIRWISE, Facts
from .metrics import Metric, decided, pair_metrics


class DpoRkSettings(Settings):
    """Settings of `dpo_rk`."""

    beta: float = Field(0.1, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")
    alpha: float = Field(math.log(3), gt=0, description="α in nats: margin that must be exceeded; larger, more ties")


def dpo_rk(pairs: views.PairLogps, tie: Tensor, *, beta: float, alpha: float) -> Tensor:
    """Negative log-probability of the judgement: one response, the other, or a tie.

        u = β·(a⁺ − a⁻),   a = log π(y|x)/π_ref(y|x)
        P(y⁺) = σ(u − α),   P(y⁻) = σ(−u − α)
        P(tie) = 1 − P(y⁺) − P(y⁻) = σ(α − u)·σ(α + u)·(1 − e^{−2α})

    Rao & Kupper 1967, in DPO: Chen et al. 2024 (arXiv:2409.17431). α = log 3 makes a tie as likely as not between
    equals; α → 0 is DPO, and on data without ties α is an offset as `odpo` has. A tie draws u to 0. "Both bad" counts
    as a tie: it says that neither is better.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        tie: Whether each pair is a tie, bool [E]; chosen and rejected then stand in no order.
        beta: β > 0, in 1/nat.
        alpha: α > 0, nats.

    Returns:
        Loss per edge, [E]; at the reference log(1 + e^α), and −log tanh(α/2) for a tie.
    """
    u = beta * pairs.difference
    tied = softplus(u - alpha) + softplus(-u - alpha) - math.log(-math.expm1(-2 * alpha))
    return torch.where(tie, tied, softplus(alpha - u))


def _losses(logps: Logps, batch: PackedBatch, settings: DpoRkSettings) -> Mapping[str, Tensor]:
    tie = views.ties(batch)
    return {
        "dpo_rk": views.expected(views.pairs(logps, batch), lambda pairs: dpo_rk(pairs, tie, **settings.model_dump()))
    }


def _metrics(logps: Logps, batch: PackedBatch, settings: DpoRkSettings) -> Mapping[str, Metric]:
    return decided(pair_metrics(views.pairs(logps, batch), beta=settings.beta), views.ties(batch))


def _at_reference(batch: PackedBatch, settings: DpoRkSettings) -> Mapping[str, Tensor]:
    alpha = torch.tensor(settings.alpha, dtype=torch.float64)
    return {"dpo_rk": torch.where(views.ties(batch), -torch.tanh(alpha / 2).log(), softplus(alpha))}


OBJECTIVE = Objective(
    summary="DPO that learns from ties, with a threshold (Rao-Kupper)",
    formula="−log P(judgement), P(y⁺) = σ(u−α), P(tie) = the rest, u = β·Δ[log π/π_ref] (sums over tokens), "
    "mean over pairs",
    source="Chen et al. 2024 (arXiv:2409.17431); Rao & Kupper 1967",
    data="pairs",
    settings=DpoRkSettings,
    terms=lambda settings: {"dpo_rk": Term("edge")},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=True, ties=True),
    facts=Facts(at_reference=_at_reference, invariant=PAIRWISE, curve="decreasing"),
)
