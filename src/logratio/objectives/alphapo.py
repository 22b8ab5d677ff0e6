"""AlphaPO: SimPO with a reward of another shape."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from ..batch.logps import Logps
from ..batch.packed import PackedBatch
from . import views
from .base import Objective, Settings, Term
from .facts import Facts
from .metrics import Metric, likelihood_metrics

HIGHEST = 30.0
"""Largest exponent −α·m; e^30 ≈ 10¹³ keeps β·r and its differences far from float32's end."""


class AlphapoSettings(Settings):
    """Settings of `alphapo`."""

    beta: float = Field(2.5, gt=0, description="β in token/nat: scale of the reward")
    alpha: float = Field(0.25, ge=-10, le=10, description="α: shape of the reward; 0 is SimPO")
    gamma_beta_ratio: float = Field(0.1, ge=0, description="γ/β in units of reward: margin that chosen must have")


def shaped(mean: Tensor, alpha: float) -> Tensor:
    """Return r = (1 − e^{−α·m})/α of mean log-probs m in nats; m itself at α = 0. α·m is held at −30 at least."""
    if alpha == 0:
        return mean
    return -torch.expm1((-alpha * mean).clamp(max=HIGHEST)) / alpha


def alphapo(pairs: views.PairSums, *, beta: float, alpha: float, gamma_beta_ratio: float) -> Tensor:
    """Logistic loss on the difference of reshaped mean log-probs, beyond a target margin.

        m = log π(y|x)/|y|,   r = (1 − e^{−α·m})/α
        ℓ = −log σ(β·(r⁺ − r⁻) − γ),   γ = β·(γ/β)

    Gupta et al. 2025 (arXiv:2501.03884). α → 0 is SimPO; ∂r/∂m = e^{−α·m}, so a positive α weighs unlikely responses
    more. An exponent above 30 is held there, without gradient, and counted by the metric `held`.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        beta: β > 0, in token/nat.
        alpha: α in [−10, 10].
        gamma_beta_ratio: γ/β ≥ 0.

    Returns:
        Loss per edge, [E]; softplus(γ) where m⁺ = m⁻.
    """
    reward = shaped(pairs.chosen_mean, alpha) - shaped(pairs.rejected_mean, alpha)
    return softplus(-beta * (reward - gamma_beta_ratio))


def _losses(logps: Logps, batch: PackedBatch, settings: AlphapoSettings) -> Mapping[str, Tensor]:
    return {
        "alphapo": views.expected(views.pair_sums(logps, batch), lambda pairs: alphapo(pairs, **settings.model_dump()))
    }


def _metrics(logps: Logps, batch: PackedBatch, settings: AlphapoSettings) -> Mapping[str, Metric]:
    pairs = views.pair_sums(logps, batch)
    lowest = settings.alpha * torch.minimum(pairs.chosen_mean, pairs.rejected_mean)
    return {**likelihood_metrics(pairs), "held": Metric((-lowest > HIGHEST).float(), "edge")}


OBJECTIVE = Objective(
    summary="SimPO with a reward of another shape",
    formula="−log σ(β(r⁺ − r⁻) − γ), r = (1 − e^{−αm})/α, m = mean over response tokens of log π, mean over pairs",
    source="Gupta et al. 2025 (arXiv:2501.03884)",
    data="pairs",
    settings=AlphapoSettings,
    terms=lambda settings: {"alphapo": Term("edge")},
    losses=_losses,
    metrics=_metrics,
    suggests={"train.lr": 7e-7, "train.batch_size": 128, "train.schedule": "cosine"},
    suggested_by="its Mistral-Instruct settings as quoted by TRL (not checked against the paper)",
    facts=Facts(curve="decreasing", variants=({"alpha": 0.0}, {"alpha": -0.5})),
)
