"""DPO on per-token means of the log-ratio."""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from .base import Settings
from .facts import Facts
from .pairwise import pairwise
from .views import PairLogps


class DpoNormSettings(Settings):
    """Settings of `dpo_norm`."""

    beta: float = Field(5.0, gt=0, description="β in token/nat: larger holds the policy nearer the reference")


def dpo_norm(pairs: PairLogps, *, beta: float) -> Tensor:
    """Logistic loss on the difference of mean log-ratios.

        ℓ = −log σ(β·(a⁺/|y⁺| − a⁻/|y⁻|)),   a = log π(y|x)/π_ref(y|x)

    Lambert et al. 2024 (Tülu 3, arXiv:2411.15124). β is larger than DPO's by about a response's length.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        beta: β > 0, in token/nat.

    Returns:
        Loss per edge, [E].
    """
    return softplus(-margin(pairs, beta=beta))


def margin(pairs: PairLogps, *, beta: float) -> Tensor:
    """Return β·(a⁺/|y⁺| − a⁻/|y⁻|), [E]."""
    return beta * (pairs.chosen_logratio / pairs.chosen_length - pairs.rejected_logratio / pairs.rejected_length)


OBJECTIVE = pairwise(
    dpo_norm,
    DpoNormSettings,
    summary="DPO on per-token means, as in Tülu 3",
    formula="−log σ(β·Δ[mean over response tokens of log π/π_ref]), mean over pairs",
    source="Lambert et al. 2024 (Tülu 3, arXiv:2411.15124)",
    suggests={"train.lr": 5e-7, "train.batch_size": 128},
    suggested_by="Tülu 3, 8B",
    margin=margin,
    facts=Facts(at_reference=lambda batch, settings: {"dpo_norm": math.log(2)}, curve="decreasing"),
)
