"""β-DPO: β follows each step's margins, and pairs with odd margins are left out."""

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
from ..maths.counter import stream
from . import views
from .base import Objective, Settings, Term
from .facts import PAIRWISE, Facts
from .metrics import Metric, pair_metrics

FLOOR = 1e-3
"""Least β of a step."""


class BetaDpoSettings(Settings):
    """Settings of `beta_dpo`."""

    beta: float = Field(0.1, gt=FLOOR, description="β₀ in 1/nat: β of a step whose margins are as usual")
    alpha: float = Field(0.6, ge=0, description="α in 1/nat: how strongly β follows the margins")
    keep: float = Field(0.8, gt=0, le=1, description="ρ: share of a step's pairs that is learnt from")
    momentum: float = Field(0.9, ge=0, lt=1, description="share of the running mean and spread kept at each step")


def beta_dpo(pairs: views.PairLogps, kept: Tensor, *, beta: Tensor | float) -> Tensor:
    """DPO's loss over the pairs that are kept, with this step's β.

        M = a⁺ − a⁻,   a = log π(y|x)/π_ref(y|x)
        β = max(10⁻³, β₀·(1 + α·(mean of M over kept pairs − M₀))),   without gradient
        ℓ = −log σ(β·M) over kept pairs, 0 elsewhere

    Wu et al. 2024 (arXiv:2407.08639). M is not scaled by β₀ (so in the authors' code), so α has a unit. M₀ and σ are
    running averages of the mean and the standard deviation of M. A share ρ of the step's pairs is kept, drawn without
    replacement by weights exp(−(M − M₀)²/2σ²); the loss is scaled so that its mean is one over kept pairs.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        kept: 0 for pairs left out, else Σw/Σ_kept w, [E].
        beta: β > 0 of the step, scalar, in 1/nat.

    Returns:
        Loss per edge, [E].
    """
    return kept * softplus(-beta * pairs.difference)


def _following(logps: Logps, batch: PackedBatch, settings: BetaDpoSettings) -> dict[str, Tensor]:
    """Return the running mean and spread with this step's margins in them."""
    margin = views.pairs(logps, batch).difference.detach().double()
    weight = batch.edge["weight"].double()
    weight = weight / weight.sum().clamp(min=1e-12)
    mean = (weight * margin).sum()
    step = {"mean": mean, "spread": (weight * (margin - mean).square()).sum().sqrt()}
    kept = settings.momentum
    following = {name: kept * batch.state[name] + (1 - kept) * value for name, value in step.items()}
    return {**following, "steps": batch.state["steps"] + 1}


def _noise(batch: PackedBatch) -> Tensor:
    """Return Gumbel noise for each edge, float64 [E], by step, data row and place in the group: no order matters."""
    group_E = batch.spans.group_S.to(batch.winner_E.device).index_select(0, batch.winner_E).tolist()
    step = int(batch.state["steps"])
    draws = {group: stream(0, "beta_dpo", step, row) for group, row in enumerate(batch.row_G.tolist())}
    noise = [draws[group].gumbel() for group in group_E]
    return torch.tensor(noise, dtype=torch.float64, device=batch.winner_E.device)


def selection(logps: Logps, batch: PackedBatch, settings: BetaDpoSettings) -> tuple[Tensor, Tensor]:
    """Return this step's factor of each pair, 0 where left out, [E], and its β, scalar; both without gradient.

    The highest sums of log-weight and Gumbel noise are a draw without replacement by those weights.
    """
    margin = views.pairs(logps, batch).difference.detach().double()
    running, weight = _following(logps, batch, settings), batch.edge["weight"].double()
    distance = (margin - running["mean"]) / running["spread"].clamp(min=1e-6)
    score = (_noise(batch) - distance.square() / 2).masked_fill(weight == 0, -torch.inf)
    chosen = score.argsort(descending=True, stable=True)[: max(1, int(settings.keep * len(score)))]
    kept = torch.zeros_like(weight).index_fill(0, chosen, 1.0) * weight
    share = kept.sum().clamp(min=1e-12)
    mean = (kept * margin).sum() / share
    beta = settings.beta * (1 + settings.alpha * (mean - running["mean"]))
    return (kept > 0) * weight.sum() / share, beta.clamp(min=FLOOR)


def _losses(logps: Logps, batch: PackedBatch, settings: BetaDpoSettings) -> Mapping[str, Tensor]:
    kept, beta = (value.to(logps.policy_R) for value in selection(logps, batch, settings))
    return {"beta_dpo": views.expected(views.pairs(logps, batch), lambda pairs: beta_dpo(pairs, kept, beta=beta))}


def _metrics(logps: Logps, batch: PackedBatch, settings: BetaDpoSettings) -> Mapping[str, Metric]:
    pairs, beta = views.pairs(logps, batch), selection(logps, batch, settings)[1]
    own = pair_metrics(pairs, beta=settings.beta, pull=torch.sigmoid(-beta.to(pairs.chosen) * pairs.difference))
    return {**own, "beta": Metric(beta.reshape(1), "step")}


def _at_reference(batch: PackedBatch, settings: BetaDpoSettings) -> Mapping[str, Tensor]:
    return {"beta_dpo": math.log(2) * selection(Logps(batch.token["reference"].double()), batch, settings)[0]}


OBJECTIVE = Objective(
    summary="DPO whose β follows each step's margins, and which leaves out pairs with odd ones",
    formula="−log σ(βM), M = Δ[log π/π_ref], β = β₀(1 + α(M̄ − M₀)) ≥ 10⁻³ detached, mean over the kept share of pairs",
    source="Wu et al. 2024 (arXiv:2407.08639)",
    data="pairs",
    settings=BetaDpoSettings,
    terms=lambda settings: {"beta_dpo": Term("edge")},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=True),
    state=lambda settings: {"mean": 0.0, "spread": 1.0, "steps": 0.0},
    update=_following,
    scope="step",
    facts=Facts(at_reference=_at_reference, invariant=PAIRWISE, detached=True, population=False),
)
