"""Listwise DPO: the Plackett–Luce likelihood of a whole ranking."""

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


class PlackettLuceSettings(Settings):
    """Settings of `plackett_luce`."""

    beta: float = Field(0.1, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")


def plackett_luce(logratio: Tensor, score: Tensor, present: Tensor, *, beta: float) -> Tensor:
    """Negative log-probability of the ranking, if the best is drawn first, then the best of the rest, and so on.

        r = β·log π(y|x)/π_ref(y|x)
        ℓ = −Σ_k log[ e^{r_k} / Σ_{j = k or s_j < s_k} e^{r_j} ]

    Rafailov et al. 2023 (arXiv:2305.18290), App. A.3. K = 2 is DPO; at the reference it is log K!. Responses of equal
    score are not compared: each is drawn from among itself and the strictly worse.

    Args:
        logratio: log π/π_ref of K responses to each of G prompts, float32 [G, K], nats.
        score: Higher is better, [G, K].
        present: False where a group has fewer than K responses, bool [G, K].
        beta: β > 0, in 1/nat.

    Returns:
        Loss per group, [G].
    """
    reward = beta * logratio
    below = (score[:, None, :] < score[:, :, None]) | torch.eye(score.shape[1], dtype=torch.bool, device=score.device)
    rivals = torch.where(below & present[:, None, :], reward[:, None, :], -torch.inf)
    return torch.where(present, torch.logsumexp(rivals, dim=2) - reward, 0.0).sum(1)


def _losses(logps: Logps, batch: PackedBatch, settings: PlackettLuceSettings) -> Mapping[str, Tensor]:
    ranked = views.rankings(logps, batch)
    logratio = ranked.spread(views.responses(logps, batch).logratio)
    return {"plackett_luce": plackett_luce(logratio, ranked.score, ranked.present, beta=settings.beta)}


def _at_reference(batch: PackedBatch, settings: PlackettLuceSettings) -> Mapping[str, Tensor]:
    count_G = torch.bincount(batch.spans.group_S).double()
    return {"plackett_luce": torch.lgamma(count_G + 1)}


OBJECTIVE = Objective(
    summary="likelihood of a whole ranking: DPO for K responses",
    formula="−Σ_k log[e^{r_k}/Σ_{k and those below} e^{r_j}], r = β·log π/π_ref (sums over tokens), mean over prompts",
    source="Rafailov et al. 2023 (arXiv:2305.18290), App. A.3",
    suggested_by="β is DPO's: the paper trains nothing with it",
    data="rankings",
    settings=PlackettLuceSettings,
    terms=lambda settings: {"plackett_luce": Term("group")},
    losses=_losses,
    metrics=lambda logps, batch, settings: pair_metrics(views.pairs(logps, batch), beta=settings.beta),
    needs=lambda settings: Needs(reference=True),
    facts=Facts(at_reference=_at_reference, invariant=PAIRWISE, curve="decreasing"),
)
