"""Nash-MD: policy gradient on the probability of beating a mixture of the policy and the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field
from torch import Tensor

from ..batch.group import Group
from ..batch.logps import Logps
from ..batch.needs import Needs
from ..batch.packed import PackedBatch
from ..maths import kl
from . import labelling, onpolicy
from .base import Labelled, Objective, Settings, Term
from .facts import Facts
from .metrics import Metric


class NashMdSettings(Settings):
    """Settings of `nash_md`."""

    tau: float = Field(0.1, gt=0, description="τ, weight of the KL from the reference; wins are in [0, 1]")
    mixture: float = Field(0.125, ge=0, le=1, description="share of the reference in the rival; 0: the policy itself")


def nash_md(logp_S: Tensor, old_S: Tensor, advantage_S: Tensor) -> Tensor:
    """Policy-gradient loss of each response.

        ℓ = −ρ·A,   ρ = π(y|x)/π_old(y|x),   A = P(y ≻ y') − ½ − τ·log π_old(y|x)/π_ref(y|x)

    Munos et al. 2023 (arXiv:2312.00886), §7: y' comes from the rival π'(y_t) ∝ π(y_t)^{1−λ}·π_ref(y_t)^λ, mixed token
    by token, λ = `mixture`. The expected gradient is that of −(P(π ≻ π') − τ·KL(π‖π_ref)) with the rival held fixed;
    the KL is that of whole responses. A λ above 0 that stays has its fixed point at π ∝ π_ref·exp(P(·≻π')/τ), whose
    rival is the mixture: near the equilibrium of the game, not at it. λ = 0 (self-play) has it at the equilibrium.

    Args:
        logp_S: log π(y|x) of S responses, nats.
        old_S: The same of the policy that drew them, without gradient; the same numbers in the first inner step.
        advantage_S: A; 0 for the rival's responses, which are not learned.

    Returns:
        Loss per response, [S]; −A where ρ = 1.
    """
    return onpolicy.surrogate(kl.ratio(logp_S, old_S), advantage_S, clip_low=None, clip_high=None)


def wins(group: Group) -> labelling.Floats64:
    """Return how probably each response is preferred to those it is compared with, mean over them, [K]; NaN to none.

    The policy's responses are compared with the rival's; where there is no rival, with each other. Comparisons are the
    edges: column `probability` that the first is preferred, and `weight`, 0 where nothing was judged.
    """
    rival_K = labelling.rivals(group)
    columns = group.columns.edge
    total_K, count_K = np.zeros(len(rival_K)), np.zeros(len(rival_K))
    for (first, second), p, weight in zip(group.edges, columns["probability"], columns["weight"], strict=True):
        for own, other, chance in ((first, second, float(p)), (second, first, 1 - float(p))):
            if weight > 0 and not rival_K[own] and (rival_K[other] or not rival_K.any()):
                total_K[own] += chance
                count_K[own] += 1
    mean_K: labelling.Floats64 = np.where(count_K > 0, total_K / np.maximum(count_K, 1), np.nan)
    return mean_K


def label(groups: Sequence[Group], settings: NashMdSettings, state: Mapping[str, float]) -> Labelled:
    """Give every token its response's advantage; responses that were compared with none get weight 0."""
    if not settings.mixture:
        labelling.at_least_two(groups, "nash_md with mixture=0")
    return [_label(group, settings) for group in groups], {}


def _label(group: Group, settings: NashMdSettings) -> Group:
    wins_K = wins(group)
    counted_K = labelling.counted(group) & ~np.isnan(wins_K)
    advantage_K = np.where(counted_K, wins_K, 0.5) - 0.5
    advantage_K = advantage_K - settings.tau * labelling.sums(group, labelling.log_ratios(group))
    advantage_R = labelling.over_tokens(group, advantage_K * counted_K)
    weight_K = group.columns.response["weight"]
    made = labelling.labelled(group, advantage_R)
    return made.with_columns(
        response={
            "weight": weight_K * counted_K,
            "wins": np.where(counted_K, wins_K, 0.5).astype(weight_K.dtype),
        }
    )


def _losses(logps: Logps, batch: PackedBatch, settings: NashMdSettings) -> Mapping[str, Tensor]:
    own_S, old_S = (batch.sum_by_response(value_R) for value_R in (logps.policy_R, onpolicy.old(logps, batch)))
    return {"nash_md": nash_md(own_S, old_S, onpolicy.advantage_by_response(logps, batch))}


def _metrics(logps: Logps, batch: PackedBatch, settings: NashMdSettings) -> Mapping[str, Metric]:
    own = Metric(batch.response["wins"], "response", batch.response["weight"])
    return {**onpolicy.phase_metrics(logps, batch), "wins": own}


def _at_reference(batch: PackedBatch, settings: NashMdSettings) -> Mapping[str, Tensor]:
    """A phase that begins at the reference has ρ = 1 there."""
    return {"nash_md": -batch.sum_by_response(batch.token["advantage"].double()) / batch.length_S}


OBJECTIVE = Objective(
    summary="policy gradient on the probability of beating a mixture of policy and reference",
    formula="−ρ·(P(y≻y') − ½ − τ·log π_old/π_ref), y' from ∝ π^{1−λ}·π_ref^λ token by token, mean over the policy's "
    "responses",
    source="Munos et al. 2023 (arXiv:2312.00886), §7",
    data="prompts",
    settings=NashMdSettings,
    terms=lambda settings: {"nash_md": Term("response")},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=True, old=True, ties=True),
    label=label,
    responses=lambda settings: 1 if settings.mixture else 2,
    rivals=lambda settings: settings.mixture,
    suggests={"train.lr": 1e-6},
    suggested_by="as RLOO, which it shares the estimator with; the paper's models and rates are not published",
    facts=Facts(
        at_reference=_at_reference,
        invariant=frozenset({"reference"}),
        variants=({"mixture": 0.0},),
        population=False,
    ),
)
