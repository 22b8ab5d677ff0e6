"""TDPO: DPO that accounts for how far the policy drifts at each token."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import softplus

from ..batch.logps import Logps
from ..batch.needs import Needs
from ..batch.packed import PackedBatch
from . import views
from .base import Objective, Settings, Term
from .facts import Facts
from .metrics import Metric, pair_metrics


class TdpoSettings(Settings):
    """Settings of `tdpo`."""

    beta: float = Field(0.1, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")
    form: Literal["tdpo2", "tdpo1"] = Field("tdpo2", description="tdpo2 holds the chosen side's drift fixed")
    alpha: float = Field(0.5, gt=0, description="α: weight of the drift in tdpo2")

    @model_validator(mode="after")
    def _alpha_belongs_to_tdpo2(self) -> TdpoSettings:
        if self.form == "tdpo1" and self.alpha != 0.5:
            raise ValueError(f"alpha is {self.alpha:g}, which form tdpo1 does not have; leave it out or use tdpo2")
        return self


def tdpo(pairs: views.PairLogps, drift: tuple[Tensor, Tensor], *, beta: float, form: str, alpha: float) -> Tensor:
    """Logistic loss on the margin and on the difference of both responses' sequential KL.

        h = a⁺ − a⁻,   a = log π(y|x)/π_ref(y|x)
        D(y) = Σ_t KL(π_ref(·|x, y_<t) ‖ π(·|x, y_<t)),   over the whole vocabulary
        tdpo1:  ℓ = −log σ(β·(h + D⁺ − D⁻))
        tdpo2:  ℓ = −log σ(β·(h + α·(sg D⁺ − D⁻)))

    Zeng et al. 2024 (arXiv:2404.11999). sg is without gradient: so the policy may leave the reference on chosen
    responses, and pays for doing so on rejected ones.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        drift: D of the chosen and of the rejected responses, [E] each, nats.
        beta: β > 0, in 1/nat.
        form: tdpo1 or tdpo2.
        alpha: α > 0; of tdpo2.

    Returns:
        Loss per edge, [E].
    """
    return softplus(-beta * (pairs.difference + further(drift, form=form, alpha=alpha)))


def further(drift: tuple[Tensor, Tensor], *, form: str, alpha: float) -> Tensor:
    """Return what is added to h, nats, [E]."""
    chosen, rejected = drift
    return chosen - rejected if form == "tdpo1" else alpha * (chosen.detach() - rejected)


def _drift(logps: Logps, batch: PackedBatch) -> tuple[Tensor, Tensor]:
    assert logps.divergence_R is not None
    drift_S = batch.sum_by_response(logps.divergence_R)
    return drift_S.index_select(0, batch.winner_E), drift_S.index_select(0, batch.loser_E)


def _losses(logps: Logps, batch: PackedBatch, settings: TdpoSettings) -> Mapping[str, Tensor]:
    pairs, drift, chosen = views.pairs(logps, batch), _drift(logps, batch), settings.model_dump()
    straight = tdpo(pairs, drift, **chosen)
    flipped = tdpo(views.swapped(pairs), drift[::-1], **chosen)
    return {"tdpo": pairs.probability * straight + (1 - pairs.probability) * flipped}


def _metrics(logps: Logps, batch: PackedBatch, settings: TdpoSettings) -> Mapping[str, Metric]:
    chosen, rejected = _drift(logps, batch)
    pairs = views.pairs(logps, batch)
    beyond = further((chosen, rejected), form=settings.form, alpha=settings.alpha)
    own = pair_metrics(pairs, beta=settings.beta, pull=torch.sigmoid(-settings.beta * (pairs.difference + beyond)))
    return {**own, "drift_chosen": Metric(chosen, "edge"), "drift_rejected": Metric(rejected, "edge")}


OBJECTIVE = Objective(
    summary="DPO that accounts for the drift from the reference at each token, over the whole vocabulary",
    formula="−log σ(β(Δ[log π/π_ref] + α(sg D⁺ − D⁻))), D = Σ_t KL(π_ref‖π) over the vocabulary, mean over pairs",
    source="Zeng et al. 2024 (arXiv:2404.11999)",
    suggested_by="α of the authors' code",
    data="pairs",
    settings=TdpoSettings,
    terms=lambda settings: {"tdpo": Term("edge")},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=True, divergence=True),
    facts=Facts(
        at_reference=lambda batch, settings: {"tdpo": math.log(2)},
        variants=({"form": "tdpo1"},),
        detached=True,
        population=False,
    ),
)
