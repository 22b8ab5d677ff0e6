"""InfoNCA: the policy's softmax over a prompt's responses follows the softmax of their scores."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from ..batch.logps import Logps
from ..batch.needs import Needs
from ..batch.packed import PackedBatch
from . import views
from .base import Objective, Settings, Term
from .facts import PAIRWISE, Facts
from .metrics import pair_metrics


class InfoNcaSettings(Settings):
    """Settings of `info_nca`."""

    beta: float = Field(0.01, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")
    temperature: float = Field(1.0, gt=0, description="T in units of the scores: softer targets where larger")


def info_nca(logratio: Tensor, score: Tensor, present: Tensor, *, beta: float, temperature: float) -> Tensor:
    """Cross-entropy between the softmax of scores and the softmax of implicit rewards.

        p = softmax_k(s_k/T),   ℓ = −Σ_k p_k·log softmax_k(β·log π(y_k|x)/π_ref(y_k|x))

    Chen et al. 2024 (arXiv:2402.05369). T is the temperature of the scores (code that multiplies by 1/T has its
    inverse). At the reference log K; at the minimum β·a_k = s_k/T + a constant. K = 2 with T → 0 is DPO; plain pairs
    count as scores 1 and 0, so T = 1 makes them soft labels of σ(1) = 0.73.

    Args:
        logratio: log π/π_ref of K responses to each of G prompts, float32 [G, K], nats.
        score: Higher is better, [G, K].
        present: False where a group has fewer than K responses, bool [G, K].
        beta: β > 0, in 1/nat.
        temperature: T > 0.

    Returns:
        Loss per group, [G].
    """
    target = torch.softmax((score / temperature).masked_fill(~present, -torch.inf), dim=1)
    own = torch.log_softmax((beta * logratio).masked_fill(~present, -torch.inf), dim=1)
    return -(target * own.masked_fill(~present, 0.0)).sum(1)


def _losses(logps: Logps, batch: PackedBatch, settings: InfoNcaSettings) -> Mapping[str, Tensor]:
    ranked = views.rankings(logps, batch)
    logratio = ranked.spread(views.responses(logps, batch).logratio)
    return {"info_nca": info_nca(logratio, ranked.score, ranked.present, **settings.model_dump())}


def _at_reference(batch: PackedBatch, settings: InfoNcaSettings) -> Mapping[str, Tensor]:
    return {"info_nca": torch.bincount(batch.spans.group_S).double().log()}


OBJECTIVE = Objective(
    summary="the policy's softmax over a prompt's responses follows that of their scores",
    formula="−Σ_k softmax_k(s/T)·log softmax_k(β·log π/π_ref), sums over response tokens, mean over prompts",
    source="Chen et al. 2024 (arXiv:2402.05369)",
    data="rankings",
    settings=InfoNcaSettings,
    terms=lambda settings: {"info_nca": Term("group")},
    losses=_losses,
    metrics=lambda logps, batch, settings: pair_metrics(views.pairs(logps, batch), beta=settings.beta),
    needs=lambda settings: Needs(reference=True),
    suggests={"train.lr": 5e-6, "train.batch_size": 32},
    suggested_by="Chen et al. 2024",
    facts=Facts(at_reference=_at_reference, invariant=PAIRWISE),
)
