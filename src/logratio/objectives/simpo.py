"""SimPO: mean log-prob as the reward, no reference."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from .base import Settings
from .facts import Facts
from .pairwise import pairwise
from .views import PairSums


class SimpoSettings(Settings):
    """Settings of `simpo`."""

    beta: float = Field(2.0, gt=0, description="β in token/nat: scale of the reward")
    gamma_beta_ratio: float = Field(0.5, ge=0, description="γ/β in nat/token: margin that chosen must have")


def simpo(pairs: PairSums, *, beta: float, gamma_beta_ratio: float) -> Tensor:
    """Logistic loss on the difference of mean log-probs, beyond a target margin.

        m = log π(y|x)/|y|
        ℓ = −log σ(β·(m⁺ − m⁻) − γ),   γ = β·(γ/β)

    Meng et al. 2024 (arXiv:2405.14734), Eq. 6. The division by length counters the bias to longer responses. γ/β is
    given, not γ: the authors' settings keep it stable while β varies.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        beta: β > 0, in token/nat.
        gamma_beta_ratio: γ/β ≥ 0, in nat/token.

    Returns:
        Loss per edge, [E]; softplus(γ) where m⁺ = m⁻.
    """
    return softplus(-beta * (pairs.chosen_mean - pairs.rejected_mean - gamma_beta_ratio))


OBJECTIVE = pairwise(
    simpo,
    SimpoSettings,
    summary="logistic loss on mean log-probs with a target margin, no reference",
    formula="−log σ(β(m⁺ − m⁻) − γ), m = mean over response tokens of log π, mean over pairs",
    source="Meng et al. 2024 (arXiv:2405.14734), Eq. 6",
    reference=False,
    suggests={"train.lr": 6e-7, "train.batch_size": 128, "train.schedule": "cosine"},
    suggested_by="the authors' Llama-3-Base settings",
    facts=Facts(curve="decreasing"),
)
