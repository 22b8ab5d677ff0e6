"""DiscoPOP: a blend of the logistic and the exponential loss, found by search."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from .base import Settings
from .facts import PAIRWISE, Facts
from .pairwise import pairwise
from .views import PairLogps


class DiscopopSettings(Settings):
    """Settings of `discopop`."""

    beta: float = Field(0.05, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")
    temperature: float = Field(0.05, gt=0, le=1, description="τ: how sharply the losses change over, in units of β·h")


def discopop(pairs: PairLogps, *, beta: float, temperature: float) -> Tensor:
    """Logistic loss where the pair is wrong, exponential loss where it is right.

        u = β·(a⁺ − a⁻),   a = log π(y|x)/π_ref(y|x),   s = σ(u/τ)
        ℓ = (1 − s)·(−log σ(u)) + s·e^{−u}

    Lu et al. 2024 (arXiv:2406.08414), log-ratio modulated loss. Not convex: with β = τ = 0.05 there are a local minimum
    at h = −2.4 nats and a local maximum at +1.4, beyond which the loss falls to 0. At the reference the slope is
    β·[(1 − log 2)/(4τ) − ¾], above 0 for τ < 0.102: by itself a pair first moves the wrong way, and learns only if
    others carry it over the maximum. s·e^{−u} = exp(log σ(u/τ) − u) cannot overflow for τ ≤ 1.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        beta: β > 0, in 1/nat.
        temperature: τ in (0, 1].

    Returns:
        Loss per edge, [E], > 0; ½·log 2 + ½ at the reference.
    """
    u = beta * pairs.difference
    return torch.sigmoid(-u / temperature) * softplus(-u) + torch.exp(logsigmoid(u / temperature) - u)


OBJECTIVE = pairwise(
    discopop,
    DiscopopSettings,
    summary="a blend of logistic and exponential loss found by search; not convex",
    formula="(1−s)·(−log σ(u)) + s·e^{−u}, s = σ(u/τ), u = β·Δ[log π/π_ref] (sums over tokens), mean over pairs",
    source="Lu et al. 2024 (arXiv:2406.08414)",
    suggests={"train.lr": 5e-7, "train.batch_size": 64},
    suggested_by="Lu et al. 2024",
    facts=Facts(at_reference=lambda batch, settings: {"discopop": (math.log(2) + 1) / 2}, invariant=PAIRWISE),
)
