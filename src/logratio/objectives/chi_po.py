"""χPO: DPO under the χ² divergence mixed with the KL, its margin clipped to what a bounded reward can differ by."""

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
from .divergences import held, slope
from .facts import Facts
from .metrics import Metric, pair_metrics


class ChiPoSettings(Settings):
    """Settings of `chi_po`."""

    beta: float = Field(0.1, gt=0, description="β: larger holds the policy nearer the reference")
    max_reward: float = Field(2.0, gt=0, description="R_max in nats: largest reward, so margins are clipped at ±2R_max")


def margin(pairs: views.PairLogps, beta: float) -> Tensor:
    """Return β·[φ(π/π_ref(y⁺)) − φ(π/π_ref(y⁻))], φ(t) = t + log t, before it is clipped, [E]."""
    chosen, rejected = (slope(side, "chi_squared_mixture") for side in (pairs.chosen_logratio, pairs.rejected_logratio))
    return beta * (chosen - rejected)


def chi_po(pairs: views.PairLogps, *, beta: float, max_reward: float) -> Tensor:
    """Logistic loss on the margin of a link that grows like the ratio itself, clipped.

        m = β·[φ(t⁺) − φ(t⁻)],   φ(t) = t + log t,   t = π(y|x)/π_ref(y|x)
        ℓ = −log σ(clip(m, −2·R_max, 2·R_max))

    Huang et al. 2024 (arXiv:2407.13399). `dpo` with divergence chi_squared_mixture is the same link without the clip.
    The clip belongs to the method's guarantee (rewards lie in [0, R_max]) and makes another loss: a pair clipped on
    either side has no gradient, one that is wrong by 2·R_max too. Hence an objective of its own, with its own count,
    `clipped`. The default of R_max is this project's: σ(4) = 0.98. e^a is held at e^30, counted by `held`.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        beta: β > 0.
        max_reward: R_max > 0, nats.

    Returns:
        Loss per edge, [E], from softplus(−2·R_max) to softplus(2·R_max).
    """
    return softplus(-margin(pairs, beta).clamp(-2 * max_reward, 2 * max_reward))


def _losses(logps: Logps, batch: PackedBatch, settings: ChiPoSettings) -> Mapping[str, Tensor]:
    return {"chi_po": views.expected(views.pairs(logps, batch), lambda pairs: chi_po(pairs, **settings.model_dump()))}


def _metrics(logps: Logps, batch: PackedBatch, settings: ChiPoSettings) -> Mapping[str, Metric]:
    pairs = views.pairs(logps, batch)
    own, most = margin(pairs, settings.beta), 2 * settings.max_reward
    over = own.abs() > most
    clipped = own.clamp(-most, most)
    return {
        **pair_metrics(pairs, beta=settings.beta, margin=clipped, pull=torch.sigmoid(-clipped) * ~over),
        "held": Metric(held(pairs.chosen_logratio, pairs.rejected_logratio, "chi_squared_mixture"), "edge"),
        "clipped": Metric(over.float(), "edge"),
    }


OBJECTIVE = Objective(
    summary="DPO under the mixed χ² divergence, with a clipped margin",
    formula="−log σ(clip(β·Δ[φ(π/π_ref)], ±2R_max)), φ(t) = t + log t, sums over response tokens, mean over pairs",
    source="Huang et al. 2024 (arXiv:2407.13399)",
    data="pairs",
    settings=ChiPoSettings,
    terms=lambda settings: {"chi_po": Term("edge")},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=True),
    facts=Facts(
        at_reference=lambda batch, settings: {"chi_po": math.log(2)},
        curve="decreasing",
        variants=({"max_reward": 0.5},),
    ),
)
