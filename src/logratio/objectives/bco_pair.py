"""BCO on pairs: a classifier of chosen and rejected responses, its reward shifted by the step's mean."""

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
from .facts import PAIRWISE, Facts
from .metrics import Metric, pair_metrics


class BcoPairSettings(Settings):
    """Settings of `bco_pair`."""

    beta: float = Field(0.01, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")


def bco_pair(pairs: views.PairLogps, shift: Tensor | float, *, beta: float) -> Tensor:
    """Cross-entropy of a classifier whose logit is the implicit reward beyond a shift, over both responses.

        r = β·log π(y|x)/π_ref(y|x)
        ℓ = −log σ(r⁺ − δ) − log σ(δ − r⁻),   δ = ½·(E r⁺ + E r⁻) over the pairs of the step, without gradient

    Jung et al. 2024 (arXiv:2404.04656). For every δ at least −log σ(r⁺ − r⁻), DPO's loss. Without δ, as one
    implementation has it, a drift of all rewards together would change what is learnt. `bco` keeps a running δ.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        shift: δ, scalar, in units of reward, without gradient.
        beta: β > 0, in 1/nat.

    Returns:
        Loss per edge, [E]; 2·log 2 at the reference.
    """
    return softplus(shift - beta * pairs.chosen_logratio) + softplus(beta * pairs.rejected_logratio - shift)


def reward_shift(pairs: views.PairLogps, weight: Tensor, *, beta: float) -> Tensor:
    """Return δ, scalar float64 without gradient, pairs weighed by `weight`; swapping a pair does not change it."""
    middle = (pairs.chosen_logratio + pairs.rejected_logratio).detach().double() / 2
    weight = weight.double()
    return beta * (weight * middle).sum() / weight.sum().clamp(min=1e-12)


def _losses(logps: Logps, batch: PackedBatch, settings: BcoPairSettings) -> Mapping[str, Tensor]:
    pairs = views.pairs(logps, batch)
    shift = reward_shift(pairs, batch.edge["weight"], beta=settings.beta).to(pairs.chosen)
    return {"bco_pair": views.expected(pairs, lambda each: bco_pair(each, shift, beta=settings.beta))}


def _metrics(logps: Logps, batch: PackedBatch, settings: BcoPairSettings) -> Mapping[str, Metric]:
    pairs = views.pairs(logps, batch)
    shift = reward_shift(pairs, batch.edge["weight"], beta=settings.beta)
    return {**pair_metrics(pairs, beta=settings.beta), "reward_shift": Metric(shift.reshape(1), "step")}


OBJECTIVE = Objective(
    summary="a classifier of chosen and rejected responses, with the step's mean reward as its threshold",
    formula="−log σ(r⁺ − δ) − log σ(δ − r⁻), r = β·log π/π_ref, δ = ½(E r⁺ + E r⁻) of the step, mean over pairs",
    source="Jung et al. 2024 (arXiv:2404.04656)",
    data="pairs",
    settings=BcoPairSettings,
    terms=lambda settings: {"bco_pair": Term("edge")},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=True),
    scope="step",
    suggests={"train.lr": 5e-7, "train.batch_size": 128},
    suggested_by="Jung et al. 2024",
    facts=Facts(
        at_reference=lambda batch, settings: {"bco_pair": 2 * math.log(2)},
        invariant=PAIRWISE,
        curve="decreasing",
        swap=lambda settings: settings.beta,
        detached=True,
        population=False,  # δ follows the policy without gradient: a field that is no loss's, with free directions
    ),
)
