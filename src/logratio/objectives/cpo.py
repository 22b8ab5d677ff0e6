"""Contrastive Preference Optimization: DPO with a uniform reference, and imitation of the chosen response."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from .base import Settings
from .facts import Facts
from .pairwise import pairwise
from .views import PairSums


class CpoSettings(Settings):
    """Settings of `cpo`."""

    beta: float = Field(0.1, gt=0, description="β in 1/nat: scale of the log-prob difference")
    alpha: float = Field(1.0, ge=0, description="α: weight of the chosen response's negative log-likelihood")


def cpo(pairs: PairSums, *, beta: float, alpha: float) -> Tensor:
    """Logistic loss on the difference of log-probs, and the chosen response's negative log-likelihood.

        ℓ = −log σ(β·(S⁺ − S⁻)) − α·S⁺,   S = log π(y|x), summed over tokens

    Xu et al. 2024 (arXiv:2401.08417): DPO where π_ref is uniform, with the behaviour-cloning term as a sum.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        beta: β > 0, in 1/nat.
        alpha: α ≥ 0.

    Returns:
        Loss per edge, [E].
    """
    return softplus(-beta * (pairs.chosen - pairs.rejected)) - alpha * pairs.chosen


OBJECTIVE = pairwise(
    cpo,
    CpoSettings,
    summary="DPO with a uniform reference, beside imitation of the chosen response",
    formula="−log σ(β(S⁺ − S⁻)) − α·S⁺, S = log π summed over response tokens, mean over pairs",
    source="Xu et al. 2024 (arXiv:2401.08417)",
    suggested_by="β of the authors' script; its rate of 1e-4 is for an adapter",
    reference=False,
    supervised=True,
    facts=Facts(curve="decreasing"),
)
