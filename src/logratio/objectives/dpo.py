"""Direct Preference Optimization, with label smoothing and soft labels."""

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


class DpoSettings(Settings):
    """Settings of `dpo`."""

    beta: float = Field(0.1, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="ε: probability that a label is flipped")


def dpo(pairs: views.PairLogps, *, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """Logistic loss on each pair's implicit-reward margin.

        m = β·[log π(y⁺|x)/π_ref(y⁺|x) − log π(y⁻|x)/π_ref(y⁻|x)]
        ℓ = −q·log σ(m) − (1−q)·log σ(−m),   q = (1−ε)·p + ε·(1−p)

    p = 1, ε = 0: Rafailov et al. 2023 (arXiv:2305.18290), Eq. 7.  ε > 0: conservative DPO (Mitchell 2023).
    p < 1: the same cross-entropy with the pair's own preference probability.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens (EOS included).
        beta: β > 0, in 1/nat; larger holds the policy nearer the reference.
        label_smoothing: ε in [0, ½), probability that a label is flipped.

    Returns:
        Loss per edge, [E], unreduced: the loop divides by the term's global denominator.
    """
    margin = beta * pairs.difference
    right = (1 - label_smoothing) * pairs.probability + label_smoothing * (1 - pairs.probability)
    return right * softplus(-margin) + (1 - right) * softplus(margin)


def _losses(logps: Logps, batch: PackedBatch, settings: DpoSettings) -> Mapping[str, Tensor]:
    pairs = views.pairs(logps, batch)
    return {"dpo": dpo(pairs, beta=settings.beta, label_smoothing=settings.label_smoothing)}


def _metrics(logps: Logps, batch: PackedBatch, settings: DpoSettings) -> Mapping[str, Metric]:
    return pair_metrics(views.pairs(logps, batch), beta=settings.beta)


OBJECTIVE = Objective(
    summary="logistic loss on the implicit-reward margin",
    formula="−(1−ε)·log σ(m) − ε·log σ(−m), m = β·Δ[log π/π_ref], sums over response tokens, mean over pairs",
    source="Rafailov et al. 2023 (arXiv:2305.18290), Eq. 7; smoothing: Mitchell 2023",
    data="pairs",
    settings=DpoSettings,
    terms=lambda settings: {"dpo": Term("edge")},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=True),
    facts=Facts(
        at_reference=lambda batch, settings: {"dpo": math.log(2)},
        invariant=PAIRWISE,
        curve="decreasing",
        swap=lambda settings: settings.beta * (1 - 2 * settings.label_smoothing),
    ),
)
