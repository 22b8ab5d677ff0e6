"""ROPO: a logistic loss whose gradient fades on pairs that look mislabelled."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from .base import Settings
from .facts import PAIRWISE, Facts
from .pairwise import pairwise
from .views import PairLogps


class RopoSettings(Settings):
    """Settings of `ropo`."""

    beta: float = Field(0.1, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")
    alpha: float = Field(14.0, gt=1, description="α: weight of the bounded part; larger trusts odd pairs less")


def ropo(pairs: PairLogps, *, beta: float, alpha: float) -> Tensor:
    """Logistic loss and a bounded one, so that pairs far on the wrong side weigh little.

        u = β·(a⁺ − a⁻),   a = log π(y|x)/π_ref(y|x)
        ℓ = 4α/(1+α)²·[−log σ(u) + α·σ(−u)]

    Liang et al. 2024 (arXiv:2404.04102). With q = σ(−u), |∂ℓ/∂u| = 4α/(1+α)²·q·(1 + α(1−q)) is largest, 1, at
    q = (1+α)/(2α), inside (½, 1) for α > 1, and falls to 4α/(1+α)² as u → −∞. The method's filter of pairs with high
    loss is not part of this.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        beta: β > 0, in 1/nat.
        alpha: α > 1; the authors take more than 2.

    Returns:
        Loss per edge, [E]; 4α/(1+α)²·(log 2 + α/2) at the reference.
    """
    u = beta * pairs.difference
    return _scale(alpha) * (softplus(-u) + alpha * torch.sigmoid(-u))


def _scale(alpha: float) -> float:
    return 4 * alpha / (1 + alpha) ** 2


OBJECTIVE = pairwise(
    ropo,
    RopoSettings,
    summary="a logistic loss whose gradient fades on pairs that look mislabelled",
    formula="4α/(1+α)²·[−log σ(u) + α·σ(−u)], u = β·Δ[log π/π_ref], sums over response tokens, mean over pairs",
    source="Liang et al. 2024 (arXiv:2404.04102)",
    suggested_by="α of a third party's implementation",
    facts=Facts(
        at_reference=lambda batch, settings: {"ropo": _scale(settings.alpha) * (math.log(2) + settings.alpha / 2)},
        invariant=PAIRWISE,
        curve="decreasing",
    ),
)
