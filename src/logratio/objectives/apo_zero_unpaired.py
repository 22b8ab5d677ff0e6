"""APO-zero on labels: KTO measured from zero instead of from a baseline."""

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
from .facts import Facts
from .metrics import Metric


class ApoZeroUnpairedSettings(Settings):
    """Settings of `apo_zero_unpaired`."""

    beta: float = Field(0.1, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")
    desirable_weight: float = Field(1.0, gt=0, description="λ_D, weight of responses labelled good")
    undesirable_weight: float = Field(1.0, gt=0, description="λ_U, weight of responses labelled bad")


def apo_zero_unpaired(
    logratio: Tensor, good: Tensor, *, beta: float, desirable_weight: float, undesirable_weight: float
) -> Tensor:
    """Raise the log-ratio of good responses above 0 and push that of bad ones below.

        ℓ = λ_D·(1 − σ(β·a))   where the response is good,   a = log π(y|x)/π_ref(y|x)
        ℓ = λ_U·σ(β·a)         where it is bad

    D'Oosterlinck et al. 2024 (arXiv:2408.06266), one response at a time: `kto` with z₀ = 0. A pair, once as a good and
    once as a bad response, sums to APO-zero.

    Args:
        logratio: a for S responses, float32 [S], nats, summed over response tokens.
        good: 1 where labelled good, 0 where bad, [S].
        beta: β > 0, in 1/nat.
        desirable_weight: λ_D > 0.
        undesirable_weight: λ_U > 0.

    Returns:
        Loss per response, [S], in [0, max(λ_D, λ_U)].
    """
    weight = torch.where(good > 0, desirable_weight, undesirable_weight)
    return weight * torch.sigmoid((1 - 2 * good) * beta * logratio)


def _losses(logps: Logps, batch: PackedBatch, settings: ApoZeroUnpairedSettings) -> Mapping[str, Tensor]:
    logratio = views.responses(logps, batch).logratio
    return {"apo_zero_unpaired": apo_zero_unpaired(logratio, batch.response["label"], **settings.model_dump())}


def _metrics(logps: Logps, batch: PackedBatch, settings: ApoZeroUnpairedSettings) -> Mapping[str, Metric]:
    logratio, good = views.responses(logps, batch).logratio, batch.response["label"]
    own = (batch.response["weight"] > 0).to(good)
    return {
        "logratio_desirable": Metric(logratio, "response", own * good),
        "logratio_undesirable": Metric(logratio, "response", own * (1 - good)),
    }


def _at_reference(batch: PackedBatch, settings: ApoZeroUnpairedSettings) -> Mapping[str, Tensor]:
    good = batch.response["label"] > 0
    return {"apo_zero_unpaired": torch.where(good, settings.desirable_weight, settings.undesirable_weight) / 2}


OBJECTIVE = Objective(
    summary="good or bad labels, measured from the reference itself: KTO without its baseline",
    formula="λ·(1 − σ(±β·log π/π_ref)), summed over the response, mean over responses of the step",
    source="D'Oosterlinck et al. 2024 (arXiv:2408.06266)",
    data="labels",
    settings=ApoZeroUnpairedSettings,
    terms=lambda settings: {"apo_zero_unpaired": Term("response")},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=True),
    suggests={"train.lr": 2e-7, "train.batch_size": 64},
    suggested_by="D'Oosterlinck et al. 2024",
    facts=Facts(at_reference=_at_reference),
)
