"""DPO-Positive: DPO that counts it against a pair if its chosen response becomes less likely."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from .base import Settings
from .facts import Facts
from .pairwise import pairwise
from .views import PairLogps


class DpopSettings(Settings):
    """Settings of `dpop`."""

    beta: float = Field(0.1, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")
    penalty: float = Field(50.0, ge=0, description="λ: weight of a fall of the chosen response; 0 is DPO")


def dpop(pairs: PairLogps, *, beta: float, penalty: float) -> Tensor:
    """DPO's loss with a penalty inside it wherever the chosen response is less likely than under the reference.

        ℓ = −log σ(β·[a⁺ − a⁻ − λ·max(0, −a⁺)]),   a = log π(y|x)/π_ref(y|x)

    Pal et al. 2024 (arXiv:2402.13228), who tried λ = 5, 50 and 500. Equal to DPO where a⁺ ≥ 0. Below, the gradient in
    log π(y⁺) is 1 + λ times that in −log π(y⁻).

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        beta: β > 0, in 1/nat.
        penalty: λ ≥ 0.

    Returns:
        Loss per edge, [E]; log 2 at the reference.
    """
    fall = torch.relu(-pairs.chosen_logratio)
    return softplus(-beta * (pairs.difference - penalty * fall))


def pull(pairs: PairLogps, *, beta: float, penalty: float) -> Tensor:
    """Return σ of the negated argument of the loss, [E]; the margin is β·h alone."""
    return torch.sigmoid(-beta * (pairs.difference - penalty * torch.relu(-pairs.chosen_logratio)))


OBJECTIVE = pairwise(
    dpop,
    DpopSettings,
    summary="DPO that penalises a fall of the chosen response",
    formula="−log σ(β(a⁺ − a⁻ − λ·max(0, −a⁺))), a = log π/π_ref, sums over response tokens, mean over pairs",
    source="Pal et al. 2024 (arXiv:2402.13228)",
    suggested_by="λ of the paper",
    pull=pull,
    facts=Facts(at_reference=lambda batch, settings: {"dpop": math.log(2)}, curve="decreasing"),
)
