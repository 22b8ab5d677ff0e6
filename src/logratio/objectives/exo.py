"""EXO on pairs: the reverse KL between the policy's preference and a smoothed label."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from .base import Settings
from .facts import PAIRWISE, Facts
from .pairwise import pairwise
from .views import PairLogps


class ExoSettings(Settings):
    """Settings of `exo`."""

    beta: float = Field(0.1, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")
    label_smoothing: float = Field(1e-3, gt=0, lt=0.5, description="ε: probability of the label's opposite; not 0")


def exo(pairs: PairLogps, *, beta: float, label_smoothing: float) -> Tensor:
    """KL divergence of the policy's own preference from the label's, mode-seeking where DPO's is mode-covering.

        q = σ(β·(a⁺ − a⁻)),   a = log π(y|x)/π_ref(y|x)
        ℓ = q·log(q/(1−ε)) + (1−q)·log((1−q)/ε)

    Ji et al. 2024 (arXiv:2402.00856), the form for preferences. The minimum is q = 1 − ε, β·h = log (1−ε)/ε, with
    ℓ = 0; the gradient β·q(1−q)·(β·h − log (1−ε)/ε) vanishes on both sides far out. The label's probabilities add up to
    1; code with log-labels 0 and −10 has ε = 1/(1 + e¹⁰) and a loss that is lower by log(1 + e⁻¹⁰).

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        beta: β > 0, in 1/nat.
        label_smoothing: ε in (0, ½); at 0 the divergence is infinite.

    Returns:
        Loss per edge, [E], ≥ 0.
    """
    u = beta * pairs.difference
    right, wrong = logsigmoid(u), logsigmoid(-u)
    target = math.log(1 - label_smoothing), math.log(label_smoothing)
    return torch.sigmoid(u) * (right - target[0]) + torch.sigmoid(-u) * (wrong - target[1])


OBJECTIVE = pairwise(
    exo,
    ExoSettings,
    summary="reverse KL between the policy's preference and a smoothed label",
    formula="q·log(q/(1−ε)) + (1−q)·log((1−q)/ε), q = σ(β·Δ[log π/π_ref]), sums over response tokens, mean over pairs",
    source="Ji et al. 2024 (arXiv:2402.00856)",
    suggests={"train.lr": 1e-6, "train.batch_size": 64},
    suggested_by="Ji et al. 2024",
    facts=Facts(
        at_reference=lambda batch, settings: {
            "exo": -math.log(2) - math.log(settings.label_smoothing * (1 - settings.label_smoothing)) / 2
        },
        invariant=PAIRWISE,
        curve="minimum",
        minimum=lambda settings: math.log(1 / settings.label_smoothing - 1) / settings.beta,
    ),
)
