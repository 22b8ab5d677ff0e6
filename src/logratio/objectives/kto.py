"""Kahneman–Tversky Optimization: learn from responses labelled good or bad one at a time."""

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


class KtoSettings(Settings):
    """Settings of `kto`."""

    beta: float = Field(0.1, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")
    desirable_weight: float = Field(1.0, gt=0, description="λ_D, weight of responses labelled good")
    undesirable_weight: float = Field(1.0, gt=0, description="λ_U, weight of responses labelled bad")


def kto(
    logratio: Tensor, good: Tensor, baseline: Tensor, *, beta: float, desirable_weight: float, undesirable_weight: float
) -> Tensor:
    """Prospect-theoretic loss on each response's implicit reward, measured from a baseline.

        ℓ = λ_D·(1 − σ(β(a − z₀)))   where the response is good,   a = log π(y|x)/π_ref(y|x)
        ℓ = λ_U·(1 − σ(β(z₀ − a)))   where it is bad

    Ethayarajh et al. 2024 (arXiv:2402.01306), Eq. 8.

    Args:
        logratio: a for S responses, float32 [S], nats.
        good: 1 where labelled good, 0 where bad, [S].
        baseline: z₀ ≥ 0, scalar, nats, without gradient.
        beta: β > 0, in 1/nat.
        desirable_weight: λ_D > 0.
        undesirable_weight: λ_U > 0.

    Returns:
        Loss per response, [S], in [0, max(λ_D, λ_U)].
    """
    sign = 2 * good - 1
    weight = torch.where(good > 0, desirable_weight, undesirable_weight)
    return weight * torch.sigmoid(-sign * beta * (logratio - baseline))


def raw_baseline(logratio: Tensor, mismatched: Tensor) -> Tensor:
    """Return the mean log-ratio of responses paired with another prompt, without gradient; 0 where there are none.

    An estimate of KL(π‖π_ref) (arXiv:2402.01306, §4.2). Partners never share the prompt and are fixed for the run, so
    their reference log-probs can be cached.
    """
    return (logratio * mismatched).sum().detach() / mismatched.sum().clamp(min=1)


def _losses(logps: Logps, batch: PackedBatch, settings: KtoSettings) -> Mapping[str, Tensor]:
    logratio = views.responses(logps, batch).logratio
    baseline = raw_baseline(logratio, batch.response["mismatched"]).clamp(min=0)
    return {"kto": kto(logratio, batch.response["label"], baseline, **settings.model_dump())}


def _metrics(logps: Logps, batch: PackedBatch, settings: KtoSettings) -> Mapping[str, Metric]:
    seen = views.responses(logps, batch)
    own, good = 1 - batch.response["mismatched"], batch.response["label"]
    raw = raw_baseline(seen.logratio, batch.response["mismatched"]).reshape(1)
    return {
        "logratio_desirable": Metric(seen.logratio, "response", own * good),
        "logratio_undesirable": Metric(seen.logratio, "response", own * (1 - good)),
        "baseline_raw": Metric(raw, "step"),
        "baseline": Metric(raw.clamp(min=0), "step"),
    }


def _at_reference(batch: PackedBatch, settings: KtoSettings) -> Mapping[str, Tensor]:
    good = batch.response["label"] > 0
    return {"kto": torch.where(good, settings.desirable_weight, settings.undesirable_weight) / 2}


OBJECTIVE = Objective(
    summary="good or bad labels, one response at a time",
    formula="λ·(1 − σ(±β(a − z₀))), a = log π/π_ref summed over the response, mean over responses of the step",
    source="Ethayarajh et al. 2024 (arXiv:2402.01306), Eq. 8",
    data="labels",
    settings=KtoSettings,
    terms=lambda settings: {"kto": Term("response")},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=True, mismatched=True),
    scope="step",
    suggests={"train.lr": 5e-6},
    suggested_by="Ethayarajh et al. 2024, §4: 2 to 10 times DPO's rate; batches of 8 to 128",
    facts=Facts(at_reference=_at_reference),
)
