"""DPO with an offset: pairs of a clear preference must be further apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

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
from .metrics import Metric, pair_metrics

Scale = Literal["log", "linear"]


class OdpoSettings(Settings):
    """Settings of `odpo`."""

    beta: float = Field(0.1, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")
    alpha: float = Field(1.0, ge=0, description="α: scale of the offset; 0 is DPO")
    scale: Scale = Field("log", description="whether offsets grow as log of the margin or with it")


def odpo(pairs: views.PairLogps, margin: Tensor, *, beta: float, alpha: float, scale: Scale) -> Tensor:
    """DPO's loss beyond an offset that grows with the strength of the preference.

        ℓ = −log σ(β·(a⁺ − a⁻) − Δ),   a = log π(y|x)/π_ref(y|x)
        Δ = α·log(margin) or α·margin;   0 where the margin is 0, which stands for unknown

    Amini et al. 2024 (arXiv:2402.10571), the margin being the difference of the two responses' scores. Δ = 0 is DPO. A
    margin below 1 has a negative logarithm: such a pair counts as right before its margin is. Data without any margin
    are refused when they are prepared.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        margin: Strength of each preference, [E]; of a soft label, whichever way it goes.
        beta: β > 0, in 1/nat.
        alpha: α ≥ 0.
        scale: "log" or "linear"; a logarithm treats margins below 0 as unknown.

    Returns:
        Loss per edge, [E]; softplus(Δ) at the reference.
    """
    return softplus(offset(margin, alpha=alpha, scale=scale) - beta * pairs.difference)


def offset(margin: Tensor, *, alpha: float, scale: Scale) -> Tensor:
    """Return Δ of each pair, [E]."""
    if scale == "linear":
        return alpha * margin
    known = margin > 0
    return alpha * torch.where(known, margin, 1.0).log()


def _losses(logps: Logps, batch: PackedBatch, settings: OdpoSettings) -> Mapping[str, Tensor]:
    margin = batch.edge["margin"].to(logps.policy_R)
    return {
        "odpo": views.expected(views.pairs(logps, batch), lambda pairs: odpo(pairs, margin, **settings.model_dump()))
    }


def _metrics(logps: Logps, batch: PackedBatch, settings: OdpoSettings) -> Mapping[str, Metric]:
    pairs, strength = views.pairs(logps, batch), batch.edge["margin"].to(logps.policy_R)
    beyond = offset(strength, alpha=settings.alpha, scale=settings.scale)
    return pair_metrics(pairs, beta=settings.beta, pull=torch.sigmoid(beyond - settings.beta * pairs.difference))


def _at_reference(batch: PackedBatch, settings: OdpoSettings) -> Mapping[str, Tensor]:
    return {"odpo": softplus(offset(batch.edge["margin"].double(), alpha=settings.alpha, scale=settings.scale))}


OBJECTIVE = Objective(
    summary="DPO beyond an offset that grows with the strength of the preference",
    formula="−log σ(β·Δ[log π/π_ref] − α·log(margin)), sums over response tokens, mean over pairs",
    source="Amini et al. 2024 (arXiv:2402.10571)",
    data="pairs",
    settings=OdpoSettings,
    terms=lambda settings: {"odpo": Term("edge")},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=True, margin=True),
    facts=Facts(at_reference=_at_reference, invariant=PAIRWISE, curve="decreasing", variants=({"scale": "linear"},)),
)
