"""WPO: DPO whose pairs weigh as much as the policy would write them itself."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from ..batch.logps import Logps
from ..batch.needs import Needs
from ..batch.packed import PackedBatch
from . import views
from .base import Objective, Settings, Term
from .facts import Facts
from .metrics import Metric, pair_metrics


class WpoSettings(Settings):
    """Settings of `wpo`."""

    beta: float = Field(0.01, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")


def wpo(pairs: views.PairLogps, weight: Tensor, *, beta: float) -> Tensor:
    """DPO's loss times the pair's weight.

        ℓ = −w·log σ(β·(a⁺ − a⁻)),   a = log π(y|x)/π_ref(y|x)

    Zhou et al. 2024 (arXiv:2406.11827); the weight is `pair_weight`, without gradient.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        weight: w in (0, 1], [E].
        beta: β > 0, in 1/nat.

    Returns:
        Loss per edge, [E].
    """
    return weight.detach() * softplus(-beta * pairs.difference)


def pair_weight(logps: Logps, batch: PackedBatch) -> Tensor:
    """Return how likely the policy is to write a pair itself, in (0, 1], [E], without gradient.

        w(y) = exp(mean over t of [log π(y_t) − log Σ_v π(v)²]),   w = min(1, w(y⁺)·w(y⁻))

    Σ_v π(v)² is the expected probability of a token drawn from π, so drawn tokens have weight 1 in the mean. The
    product is held at 1 at most, as the authors' code does.
    """
    assert logps.square_R is not None
    excess_R = logps.policy_R.detach() - logps.square_R.clamp(min=1e-30).log()
    log_S = batch.sum_by_response(excess_R) / batch.length_S.to(excess_R)
    return (log_S.index_select(0, batch.winner_E) + log_S.index_select(0, batch.loser_E)).clamp(max=0).exp()


def _losses(logps: Logps, batch: PackedBatch, settings: WpoSettings) -> Mapping[str, Tensor]:
    weight = pair_weight(logps, batch)
    return {"wpo": views.expected(views.pairs(logps, batch), lambda pairs: wpo(pairs, weight, beta=settings.beta))}


def _metrics(logps: Logps, batch: PackedBatch, settings: WpoSettings) -> Mapping[str, Metric]:
    own = pair_metrics(views.pairs(logps, batch), beta=settings.beta)
    return {**own, "pair_weight": Metric(pair_weight(logps, batch), "edge")}


OBJECTIVE = Objective(
    summary="DPO whose pairs weigh as much as the policy would write them itself",
    formula="−w·log σ(β·Δ[log π/π_ref]), w = min(1, Π exp mean[log π(y_t) − log Σπ²]) detached, mean over pairs",
    source="Zhou et al. 2024 (arXiv:2406.11827)",
    data="pairs",
    settings=WpoSettings,
    terms=lambda settings: {"wpo": Term("edge")},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=True, extras=("square",)),
    facts=Facts(
        at_reference=lambda batch, settings: {"wpo": math.log(2)},
        invariant=frozenset({"reference"}),
        detached=True,
    ),
)
