"""SLiC-HF: a hinge on the difference of log-probs, and imitation of the chosen response."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from .base import Settings
from .facts import Facts
from .pairwise import pairwise
from .views import PairSums


class SlicSettings(Settings):
    """Settings of `slic`."""

    delta: float = Field(1.0, gt=0, description="δ in nats: margin beyond which a pair costs nothing")
    weight: float = Field(0.1, ge=0, description="λ: weight of the chosen response's negative log-likelihood")


def slic(pairs: PairSums, *, delta: float, weight: float) -> Tensor:
    """Hinge on the difference of log-probs, and the chosen response's negative log-likelihood.

        ℓ = max(0, δ − S⁺ + S⁻) − λ·S⁺,   S = log π(y|x), summed over tokens

    Zhao et al. 2023 (arXiv:2305.10425), with the chosen response as the target of regularisation.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        delta: δ > 0, in nats.
        weight: λ ≥ 0.

    Returns:
        Loss per edge, [E].
    """
    return (delta - pairs.chosen + pairs.rejected).clamp(min=0) - weight * pairs.chosen


OBJECTIVE = pairwise(
    slic,
    SlicSettings,
    summary="hinge on log-probs beside imitation of the chosen response, no reference",
    formula="max(0, δ − S⁺ + S⁻) − λ·S⁺, S = log π summed over response tokens, mean over pairs",
    source="Zhao et al. 2023 (arXiv:2305.10425)",
    suggested_by="δ and λ are the defaults of HALOs; the paper's rate and batch were not checked",
    reference=False,
    supervised=True,
    facts=Facts(curve="decreasing"),
)
