"""RRHF: rank responses by their mean log-prob as their scores rank them, and imitate the best."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from ..batch.logps import Logps
from ..batch.packed import PackedBatch
from . import views
from .base import Objective, Settings, Term
from .facts import Facts
from .metrics import likelihood_metrics


class RrhfSettings(Settings):
    """Settings of `rrhf`."""

    rank_weight: float = Field(1.0, gt=0, description="weight of the ranking term beside imitation of the best")


def rrhf(mean: Tensor, score: Tensor, present: Tensor) -> Tensor:
    """Sum over wrongly ordered pairs of how much the worse response's mean log-prob exceeds the better one's.

        p = log π(y|x)/|y|
        ℓ = Σ_{s_i < s_j} max(0, p_i − p_j)

    Yuan et al. 2023 (arXiv:2304.05302). There is no margin: pairs in order, and ties, cost nothing. Lengths are
    the response's own.

    Args:
        mean: p of K responses to each of G prompts, float32 [G, K], nat/token.
        score: Higher is better, [G, K].
        present: False where a group has fewer than K responses, bool [G, K].

    Returns:
        Loss per group, [G].
    """
    worse = (score[:, :, None] < score[:, None, :]) & present[:, :, None] & present[:, None, :]
    return torch.where(worse, (mean[:, :, None] - mean[:, None, :]).clamp(min=0), 0.0).sum((1, 2))


def imitation(mean: Tensor, score: Tensor, present: Tensor) -> Tensor:
    """Return −p of each group's best response (per token), [G]; of equal ones the first."""
    best = torch.where(present, score, -torch.inf).argmax(1, keepdim=True)
    return -mean.gather(1, best).squeeze(1)


def _losses(logps: Logps, batch: PackedBatch, settings: RrhfSettings) -> Mapping[str, Tensor]:
    ranked = views.rankings(logps, batch)
    parts = (ranked.policy / ranked.length, ranked.score, ranked.present)
    return {"rrhf": rrhf(*parts), "imitation": imitation(*parts)}


OBJECTIVE = Objective(
    summary="order of mean log-probs as the scores order them, beside imitation of the best; no reference",
    formula="w·Σ_{s_i<s_j} max(0, p_i − p_j) − p_best, p = mean over response tokens of log π, mean over prompts",
    source="Yuan et al. 2023 (arXiv:2304.05302)",
    data="rankings",
    settings=RrhfSettings,
    terms=lambda settings: {"rrhf": Term("group", settings.rank_weight), "imitation": Term("group")},
    losses=_losses,
    metrics=lambda logps, batch, settings: likelihood_metrics(views.pair_sums(logps, batch)),
    suggests={"train.lr": 2e-5, "train.batch_size": 64, "train.schedule": "cosine", "train.warmup": 0.03},
    suggested_by="the authors' script, which also trains 3 epochs",
    supervised=True,
    facts=Facts(curve="decreasing"),
)
