"""R-DPO: DPO with a price on length."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from ..batch.packed import PackedBatch
from .base import Settings
from .facts import PAIRWISE, Facts
from .pairwise import pairwise
from .views import PairLogps


class LengthDpoSettings(Settings):
    """Settings of `length_dpo`."""

    beta: float = Field(0.1, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")
    alpha: float = Field(0.01, ge=0, description="α in 1/token: price of a token, in units of reward")


def length_dpo(pairs: PairLogps, *, beta: float, alpha: float) -> Tensor:
    """Logistic loss of the optimum of E[r] − α·E|y| − β·KL.

        ℓ = −log σ(β·(a⁺ − a⁻) + α·(|y⁺| − |y⁻|)),   a = log π(y|x)/π_ref(y|x)

    Park et al. 2024 (arXiv:2403.19159): that optimum's reward is β·a + α·|y| up to the prompt's constant, so a
    positive α, with a plus, asks less of a pair whose chosen response is longer.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        beta: β > 0, in 1/nat.
        alpha: α ≥ 0, in 1/token; 0 gives DPO.

    Returns:
        Loss per edge, [E].
    """
    return softplus(-beta * pairs.difference - alpha * (pairs.chosen_length - pairs.rejected_length))


def pull(pairs: PairLogps, *, beta: float, alpha: float) -> Tensor:
    """Return σ of the negated argument of the loss, [E]; the margin is β·h alone, what the policy itself says."""
    return torch.sigmoid(-beta * pairs.difference - alpha * (pairs.chosen_length - pairs.rejected_length))


def _at_reference(batch: PackedBatch, settings: LengthDpoSettings) -> Mapping[str, Tensor]:
    length_S = batch.length_S.double()
    return {"length_dpo": softplus(-settings.alpha * (length_S[batch.winner_E] - length_S[batch.loser_E]))}


OBJECTIVE = pairwise(
    length_dpo,
    LengthDpoSettings,
    summary="DPO with a price on length",
    formula="−log σ(β·Δ[log π/π_ref] + α·Δ|y|), sums over response tokens, mean over pairs",
    source="Park et al. 2024 (arXiv:2403.19159)",
    suggested_by="α of the paper on dialogues; its rate and batch were not checked",
    pull=pull,
    facts=Facts(
        at_reference=_at_reference,
        invariant=PAIRWISE,
        curve="decreasing",
        swap=lambda settings: settings.beta,
    ),
)
