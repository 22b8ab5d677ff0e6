"""DPO with ties by Davidson: a tie is as likely as the geometric mean of both wins allows."""

from __future__ import annotations

import math
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
from .metrics import Metric, decided, pair_metrics


class DpoDSettings(Settings):
    """Settings of `dpo_d`."""

    beta: float = Field(0.1, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")
    nu: float = Field(1.0, gt=0, description="ν: larger, more ties; equals tie with probability ν/(1+ν)")


def dpo_d(pairs: views.PairLogps, tie: Tensor, *, beta: float, nu: float) -> Tensor:
    """Negative log-probability of the judgement: one response, the other, or a tie.

        u = β·(a⁺ − a⁻),   a = log π(y|x)/π_ref(y|x),   n = 1 + e^{−u} + 2ν·e^{−u/2}
        P(y⁺) = 1/n,   P(y⁻) = e^{−u}/n,   P(tie) = 2ν·e^{−u/2}/n

    Davidson 1970, in DPO: Chen et al. 2024 (arXiv:2409.17431). P(tie)² = 4ν²·P(y⁺)·P(y⁻), and P(y⁺)/P(y⁻) = e^u as in
    Bradley–Terry, so the odds of the two stay calibrated where ties occur as often as ν says. ν → 0 is DPO; on data
    without ties ν = 1 is twice DPO's loss at β/2, which doubles margins. "Both bad" counts as a tie.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        tie: Whether each pair is a tie, bool [E]; chosen and rejected then stand in no order.
        beta: β > 0, in 1/nat.
        nu: ν > 0.

    Returns:
        Loss per edge, [E]; at the reference log(2 + 2ν), and log((1 + ν)/ν) for a tie.
    """
    u = beta * pairs.difference
    even = math.log(2 * nu) - u / 2
    total = torch.logsumexp(torch.stack((torch.zeros_like(u), -u, even)), dim=0)
    return torch.where(tie, total - even, total)


def _losses(logps: Logps, batch: PackedBatch, settings: DpoDSettings) -> Mapping[str, Tensor]:
    tie = views.ties(batch)
    return {
        "dpo_d": views.expected(views.pairs(logps, batch), lambda pairs: dpo_d(pairs, tie, **settings.model_dump()))
    }


def _metrics(logps: Logps, batch: PackedBatch, settings: DpoDSettings) -> Mapping[str, Metric]:
    return decided(pair_metrics(views.pairs(logps, batch), beta=settings.beta), views.ties(batch))


def _at_reference(batch: PackedBatch, settings: DpoDSettings) -> Mapping[str, Tensor]:
    nu = torch.tensor(settings.nu, dtype=torch.float64)
    return {"dpo_d": torch.where(views.ties(batch), ((1 + nu) / nu).log(), (2 + 2 * nu).log())}


OBJECTIVE = Objective(
    summary="DPO that learns from ties, by geometric means (Davidson)",
    formula="−log P(judgement), P(y⁺) = 1/n, P(tie) = 2νe^{−u/2}/n, n = 1 + e^{−u} + 2νe^{−u/2}, u = β·Δ[log π/π_ref] "
    "(sums over tokens), mean over pairs",
    source="Chen et al. 2024 (arXiv:2409.17431); Davidson 1970",
    data="pairs",
    settings=DpoDSettings,
    terms=lambda settings: {"dpo_d": Term("edge")},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=True, ties=True),
    facts=Facts(
        at_reference=_at_reference, invariant=PAIRWISE, curve="decreasing", swap=lambda settings: settings.beta
    ),
)
