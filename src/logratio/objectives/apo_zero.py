"""APO-zero: the chosen response up, the rejected one down, each against the reference."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from .base import Settings
from .facts import Facts
from .pairwise import pairwise
from .views import PairLogps


class ApoZeroSettings(Settings):
    """Settings of `apo_zero`."""

    beta: float = Field(0.1, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")


def apo_zero(pairs: PairLogps, *, beta: float) -> Tensor:
    """Raise the chosen response's reward above zero and press the rejected one's below it.

        r = β·log π(y|x)/π_ref(y|x)
        ℓ = 1 − σ(r⁺) + σ(r⁻)

    D'Oosterlinck et al. 2024 (arXiv:2408.06266): for data whose chosen responses are better than the model's own
    (`apo_down` where they are not). Gradients β·σ(r)(1−σ(r)) on each side, vanishing far out. `apo_zero_unpaired` is
    the same from single labelled responses.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        beta: β > 0, in 1/nat.

    Returns:
        Loss per edge, [E], in (0, 2); 1 at the reference.
    """
    return torch.sigmoid(-beta * pairs.chosen_logratio) + torch.sigmoid(beta * pairs.rejected_logratio)


OBJECTIVE = pairwise(
    apo_zero,
    ApoZeroSettings,
    summary="chosen up and rejected down, each against the reference",
    formula="1 − σ(r⁺) + σ(r⁻), r = β·log π/π_ref, sums over response tokens, mean over pairs",
    source="D'Oosterlinck et al. 2024 (arXiv:2408.06266)",
    suggests={"train.lr": 2e-7, "train.batch_size": 64},
    suggested_by="D'Oosterlinck et al. 2024",
    facts=Facts(at_reference=lambda batch, settings: {"apo_zero": 1.0}, curve="decreasing"),
)
