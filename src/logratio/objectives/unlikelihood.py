"""Unlikelihood: raise the chosen response, push the rejected one down."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from .base import Settings
from .facts import Facts
from .pairwise import pairwise
from .views import PairSums


class UnlikelihoodSettings(Settings):
    """Settings of `unlikelihood`."""

    alpha: float = Field(0.1, ge=0, le=1, description="α: weight of the rejected response")


def unlikelihood(pairs: PairSums, *, alpha: float) -> Tensor:
    """Negative log-likelihood of the chosen response, minus that of the rejected one.

        ℓ = −S⁺ + α·S⁻,   S = log π(y|x), summed over tokens

    The baseline of Rafailov et al. 2023 (arXiv:2305.18290), §6, after Welleck et al. 2019. Unbounded below for α > 0:
    outside small tasks it degenerates, which is what it is here to show.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        alpha: α in [0, 1]; 0 imitates the chosen response (Preferred-FT, as a sum).

    Returns:
        Loss per edge, [E].
    """
    return -pairs.chosen + alpha * pairs.rejected


OBJECTIVE = pairwise(
    unlikelihood,
    UnlikelihoodSettings,
    summary="raise the chosen response, push the rejected one down: a baseline",
    formula="−S⁺ + α·S⁻, S = log π summed over response tokens, mean over pairs",
    source="Rafailov et al. 2023 (arXiv:2305.18290), §6",
    suggested_by="one of the paper's α; it states no rate or batch for this baseline",
    reference=False,
    supervised=True,
    facts=Facts(curve="decreasing"),
)
