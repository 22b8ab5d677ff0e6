"""AOT: DPO on sorted margins, so that the policy's margins dominate the reference's as distributions."""

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
from .facts import PAIRWISE, Facts
from .metrics import Metric, pair_metrics


class AotSettings(Settings):
    """Settings of `aot`."""

    beta: float = Field(0.01, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")


def aot(pairs: views.PairLogps, weight: Tensor, *, beta: float) -> Tensor:
    """Logistic loss between the quantiles of the policy's margins and the same quantiles of the reference's.

        d = log π(y⁺|x) − log π(y⁻|x),   d_ref likewise,   over all pairs of the step
        ∫ −log σ(β·(Q_d(t) − Q_{d_ref}(t))) dt,   Q the quantile functions

    Melnyk et al. 2024 (arXiv:2406.05882), paired form: with equal weights, the i-th smallest d meets the i-th smallest
    d_ref. A pair of preference probability p counts as d with weight w·p and as −d with weight w·(1−p). The result
    depends on the whole step and on nothing smaller: implementations that sort a micro-batch get another loss.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        weight: w ≥ 0 of each pair, [E].
        beta: β > 0, in 1/nat.

    Returns:
        Loss per edge, [E]: the mean over the quantiles that the edge's own d makes up; 0 where w = 0.
    """
    mass = torch.cat((weight * pairs.probability, weight * (1 - pairs.probability))).double()
    own = torch.cat((pairs.chosen - pairs.rejected, pairs.rejected - pairs.chosen))
    other = pairs.reference_chosen - pairs.reference_rejected
    item, partner, length = coupling(own.detach(), torch.cat((other, -other)), mass)
    loss = softplus(-beta * (own[item] - torch.cat((other, -other))[partner])) * length.to(own)
    edges = len(weight)
    total = torch.zeros_like(pairs.chosen).index_add(0, item % edges, loss)
    return total / weight.to(total).clamp(min=1e-30)


def coupling(first: Tensor, second: Tensor, mass: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pair two distributions of equal masses, quantile by quantile.

    Args:
        first: Values, [N].
        second: Other values, [N].
        mass: ≥ 0, float64 [N]: of either's values.

    Returns:
        Pieces in order of their quantiles: index into `first`, index into `second`, mass.
    """
    kept = torch.nonzero(mass > 0).flatten()
    orders = [kept[values[kept].argsort(stable=True)] for values in (first, second)]
    ends = [mass[order].cumsum(0) for order in orders]
    cuts = torch.cat(ends).sort().values
    length = cuts.diff(prepend=cuts.new_zeros(1))
    middle = cuts - length / 2
    at = [torch.searchsorted(end, middle).clamp(max=max(len(kept) - 1, 0)) for end in ends]
    whole = length > 1e-12 * mass.sum()
    return orders[0][at[0][whole]], orders[1][at[1][whole]], length[whole]


def _losses(logps: Logps, batch: PackedBatch, settings: AotSettings) -> Mapping[str, Tensor]:
    return {"aot": aot(views.pairs(logps, batch), batch.edge["weight"], beta=settings.beta)}


def _metrics(logps: Logps, batch: PackedBatch, settings: AotSettings) -> Mapping[str, Metric]:
    return pair_metrics(views.pairs(logps, batch), beta=settings.beta)


OBJECTIVE = Objective(
    summary="DPO on sorted margins: the policy's distribution of them moves above the reference's",
    formula="−log σ(β(d₍ᵢ₎ − d_ref₍ᵢ₎)), d = log π(y⁺) − log π(y⁻), both sorted over the step, mean over pairs",
    source="Melnyk et al. 2024 (arXiv:2406.05882)",
    data="pairs",
    settings=AotSettings,
    terms=lambda settings: {"aot": Term("edge")},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=True),
    scope="step",
    facts=Facts(
        at_reference=lambda batch, settings: {"aot": math.log(2)},
        invariant=PAIRWISE,
        curve="decreasing",
        swap=lambda settings: settings.beta,
        population=False,
    ),
)
