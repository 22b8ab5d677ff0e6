"""APO-down: both responses down, the rejected one further."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from .base import Settings
from .facts import Facts
from .pairwise import pairwise
from .views import PairLogps


class ApoDownSettings(Settings):
    """Settings of `apo_down`."""

    beta: float = Field(0.1, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")


def apo_down(pairs: PairLogps, *, beta: float) -> Tensor:
    """Press the chosen response's reward below zero while the margin over the rejected one grows.

        r = β·log π(y|x)/π_ref(y|x)
        ℓ = σ(r⁺) + 1 − σ(r⁺ − r⁻)

    D'Oosterlinck et al. 2024 (arXiv:2408.06266): for data whose chosen responses are worse than the model's own. No
    minimum is attained: the loss goes to 0 as r⁺ → −∞ and r⁻ falls faster. Along r⁺ = −r⁻ = x/2 it has its minimum at
    cosh(x/2) = (1 + √5)/2, from ½·σ'(x/2) = σ'(x).

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        beta: β > 0, in 1/nat.

    Returns:
        Loss per edge, [E], in (0, 2); 1 at the reference.
    """
    return torch.sigmoid(beta * pairs.chosen_logratio) + torch.sigmoid(-beta * pairs.difference)


OBJECTIVE = pairwise(
    apo_down,
    ApoDownSettings,
    summary="both responses down, the rejected one further",
    formula="σ(r⁺) + 1 − σ(r⁺ − r⁻), r = β·log π/π_ref, sums over response tokens, mean over pairs",
    source="D'Oosterlinck et al. 2024 (arXiv:2408.06266)",
    suggests={"train.lr": 2e-7, "train.batch_size": 64},
    suggested_by="D'Oosterlinck et al. 2024",
    facts=Facts(
        at_reference=lambda batch, settings: {"apo_down": 1.0},
        curve="minimum",
        minimum=lambda settings: 2 * math.acosh((1 + math.sqrt(5)) / 2) / settings.beta,
    ),
)
