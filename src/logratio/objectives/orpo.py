"""ORPO: imitate the chosen response and raise its odds over the rejected one's, in one stage."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from .base import Settings
from .facts import Facts
from .pairwise import pairwise
from .views import PairSums


class OrpoSettings(Settings):
    """Settings of `orpo`."""

    weight: float = Field(0.1, gt=0, description="λ: weight of the odds-ratio term")


def log_odds(mean: Tensor) -> Tensor:
    """Return log P/(1−P) of P = e^mean, for mean log-probs in nats ≤ 0.

    log(1 − e^m) is computed as log(−expm1(m)) near 0 and log1p(−e^m) further off; m is held at most at −1e-6, beyond
    which a sequence counts as certain, so that the result stays finite.
    """
    mean = mean.clamp(max=-1e-6)
    near = mean > -math.log(2)
    close = torch.log(-torch.expm1(torch.where(near, mean, -1.0)))
    far = torch.log1p(-torch.exp(torch.where(near, -1.0, mean)))
    return mean - torch.where(near, close, far)


def orpo(pairs: PairSums, *, weight: float) -> Tensor:
    """Negative log-likelihood of the chosen response, and a logistic loss on the log-odds ratio.

        m = log π(y|x)/|y|,   P = e^m
        ℓ = −m⁺ − λ·log σ(log odds(P⁺) − log odds(P⁻)),   odds(P) = P/(1−P)

    Hong et al. 2024 (arXiv:2403.07691), Eqs. 6–7, with the likelihood as the mean over the response's tokens (not over
    the prompt's too, as one implementation has it).

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        weight: λ > 0.

    Returns:
        Loss per edge, [E].
    """
    ratio = log_odds(pairs.chosen_mean) - log_odds(pairs.rejected_mean)
    return -pairs.chosen_mean + weight * softplus(-ratio)


OBJECTIVE = pairwise(
    orpo,
    OrpoSettings,
    summary="imitation and the odds ratio in one stage, no reference",
    formula="−m⁺ − λ·log σ(logodds(e^m⁺) − logodds(e^m⁻)), m = mean over response tokens of log π, mean over pairs",
    source="Hong et al. 2024 (arXiv:2403.07691), Eqs. 6-7",
    reference=False,
    supervised=True,
    suggests={"train.lr": 5e-6, "train.batch_size": 32},
    suggested_by="Hong et al. 2024; batch of the authors' script for Mistral",
    facts=Facts(curve="decreasing"),
)
