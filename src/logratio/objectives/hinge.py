"""Hinge loss on the implicit-reward margin, as in RSO."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from .base import Settings
from .facts import PAIRWISE, Facts
from .pairwise import pairwise
from .views import PairLogps


class HingeSettings(Settings):
    """Settings of `hinge`."""

    beta: float = Field(0.05, gt=0, description="β in 1/nat: the margin aimed at is 1/β, so larger stays nearer")


def hinge(pairs: PairLogps, *, beta: float) -> Tensor:
    """Hinge on each pair's implicit-reward margin: nothing to learn from a pair that is far enough apart.

        ℓ = max(0, 1 − β·(a⁺ − a⁻)),   a = log π(y|x)/π_ref(y|x)

    Liu et al. 2023 (arXiv:2309.06657), who call β γ; the sampling of their method is not part of the loss. 1 at the
    reference; gradient −β below the margin 1/β and 0 above it, so on certain labels every margin ≥ 1/β is a minimum.
    `slic` is the hinge without a reference.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        beta: β > 0, in 1/nat.

    Returns:
        Loss per edge, [E], ≥ 0.
    """
    return torch.relu(1 - beta * pairs.difference)


OBJECTIVE = pairwise(
    hinge,
    HingeSettings,
    summary="hinge on the implicit-reward margin",
    formula="max(0, 1 − β·Δ[log π/π_ref]), sums over response tokens, mean over pairs",
    source="Liu et al. 2023 (arXiv:2309.06657)",
    facts=Facts(at_reference=lambda batch, settings: {"hinge": 1.0}, invariant=PAIRWISE, curve="decreasing"),
)
