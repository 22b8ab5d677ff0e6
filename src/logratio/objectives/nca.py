"""Noise-contrastive alignment of pairs: each response is told from the reference, by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from ..batch.logps import Logps
from ..batch.needs import Needs
from ..batch.packed import PackedBatch
from . import views
from .base import Objective, Settings, Term
from .facts import Facts
from .metrics import Metric, decided, pair_metrics
from .views import PairLogps


class NcaSettings(Settings):
    """Settings of `nca`."""

    beta: float = Field(0.01, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")


def nca(pairs: PairLogps, tie: Tensor | None = None, *, beta: float) -> Tensor:
    """Raise the good responses against the reference, and hold both down by the same measure.

        r = β·a,   a = log π(y|x)/π_ref(y|x)
        ℓ = −g⁺·log σ(r⁺) − g⁻·log σ(r⁻) − ½·log σ(−r⁺) − ½·log σ(−r⁻)

    (g⁺, g⁻) is (1, 0) where one response is preferred: the form of Chen et al. 2024 (arXiv:2402.05369) for a pair with
    a plain label. Of a tie it is (½, ½), their softmax of equal rewards. Of two bad responses it is (0, 0), which is
    not in the paper: both only fall. Not a function of the difference alone: the chosen response settles at
    r⁺ = log 2 instead of falling together with the rejected one, which goes to −∞; those of a tie settle at the
    reference. `info_nca` is the same paper's loss of differences.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        tie: 0 where one response is preferred, 1 for a tie, 2 where both are bad, [E]; None where all are preferred.
        beta: β > 0, in 1/nat.

    Returns:
        Loss per edge, [E]; at the reference 2·log 2, and log 2 where both are bad.
    """
    chosen, rejected = beta * pairs.chosen_logratio, beta * pairs.rejected_logratio
    tie = torch.zeros_like(chosen) if tie is None else tie
    half = (tie == 1).to(chosen) / 2
    good = (tie == 0).to(chosen) + half
    return good * softplus(-chosen) + half * softplus(-rejected) + (softplus(chosen) + softplus(rejected)) / 2


def _losses(logps: Logps, batch: PackedBatch, settings: NcaSettings) -> Mapping[str, Tensor]:
    tie = _ties(batch)
    return {"nca": views.expected(views.pairs(logps, batch), lambda pairs: nca(pairs, tie, **settings.model_dump()))}


def _metrics(logps: Logps, batch: PackedBatch, settings: NcaSettings) -> Mapping[str, Metric]:
    return decided(pair_metrics(views.pairs(logps, batch), beta=settings.beta), views.ties(batch))


def _ties(batch: PackedBatch) -> Tensor:
    tie_E = batch.edge.get("tie")
    return torch.zeros_like(batch.winner_E) if tie_E is None else tie_E


def _at_reference(batch: PackedBatch, settings: NcaSettings) -> Mapping[str, Tensor]:
    return {"nca": torch.where(_ties(batch) == 2, 1.0, 2.0).double() * math.log(2)}


OBJECTIVE = Objective(
    summary="tells each response from the reference, so that the chosen one does not fall",
    formula="−log σ(r⁺) − ½·log σ(−r⁺) − ½·log σ(−r⁻), r = β·log π/π_ref, sums over response tokens, mean over pairs",
    source="Chen et al. 2024 (arXiv:2402.05369)",
    data="pairs",
    settings=NcaSettings,
    terms=lambda settings: {"nca": Term("edge")},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=True, ties=True),
    suggests={"train.lr": 5e-6, "train.batch_size": 32},
    suggested_by="Chen et al. 2024",
    facts=Facts(
        at_reference=_at_reference,
        curve="minimum",
        minimum=lambda settings: 2 * math.log(3) / settings.beta,  # r⁺ = −r⁻ = x: 3/2·ℓ(x) + 1/2·ℓ(−x), σ(x) = 3/4
        swap=lambda settings: settings.beta / 2,
    ),
)
