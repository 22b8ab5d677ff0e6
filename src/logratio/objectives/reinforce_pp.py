"""REINFORCE++: a token's advantage is the reward less the KL still to come, whitened over the whole phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator
from torch import Tensor

from ..batch.group import Group
from ..batch.logps import Logps
from ..batch.needs import Needs
from ..batch.packed import PackedBatch
from ..maths import kl
from ..maths.advantages import group_advantages, to_go, whiten
from . import labelling, onpolicy
from .base import Labelled, Objective, Settings, Term
from .facts import Facts
from .metrics import Metric


class ReinforcePpSettings(Settings):
    """Settings of `reinforce_pp`."""

    beta: float = Field(0.01, ge=0, description="β, weight of each token's KL from the reference in the reward")
    baseline: Literal["none", "group"] = Field("none", description="subtract the mean score of the prompt's samples")
    whiten: bool = Field(True, description="shift and scale the phase's advantages to mean 0 and variance 1")
    clip_low: float = Field(0.2, gt=0, lt=1, description="ε_low: ratios below 1 − ε_low are held")
    clip_high: float = Field(0.2, gt=0, description="ε_high: ratios above 1 + ε_high are held")
    denominator: onpolicy.Denominator = Field("response", description="mean over a response's tokens, or all tokens")
    constant: int | None = Field(None, ge=1, description="tokens to divide by, and only with denominator=constant")

    @model_validator(mode="after")
    def _belong_together(self) -> ReinforcePpSettings:
        onpolicy.check_constant(self.denominator, self.constant)
        return self


def reinforce_pp(logp_R: Tensor, old_R: Tensor, advantage_R: Tensor, *, clip_low: float, clip_high: float) -> Tensor:
    """Clipped policy-gradient loss of each token.

        ℓ_t = −min(ρ_t·A_t, clip(ρ_t, 1 − ε_low, 1 + ε_high)·A_t),   A_t = r − β·Σ_{s≥t} log π_old(y_s)/π_ref(y_s)

    Hu 2025 (arXiv:2501.03262); A is whitened over all tokens of the phase, so that no group is needed.

    Args:
        logp_R: log π of R scored tokens, nats.
        old_R: log π_old, the policy that drew them, without gradient; the same numbers in the first inner step.
        advantage_R: A_t.
        clip_low: ε_low in (0, 1).
        clip_high: ε_high > 0.

    Returns:
        Loss per token, [R]; −A_t where ρ = 1.
    """
    return onpolicy.surrogate(kl.ratio(logp_R, old_R), advantage_R, clip_low=clip_low, clip_high=clip_high)


def label(groups: Sequence[Group], settings: ReinforcePpSettings, state: Mapping[str, float]) -> Labelled:
    """Give every token the reward of its response less the KL from it on, whitened over all tokens of all groups."""
    if settings.baseline == "group":
        labelling.at_least_two(groups, "reinforce_pp with baseline=group")
    raw = [_returns(group, settings) for group in groups]
    joined = np.concatenate([np.zeros(0), *raw])
    if settings.whiten:
        weights = [labelling.over_tokens(group, labelling.counted(group).astype(np.float64)) for group in groups]
        joined = whiten(joined, weight=np.concatenate([np.zeros(0), *weights]))
    parts = np.split(joined, np.cumsum([len(part) for part in raw])[:-1])
    return [_labelled(group, part) for group, part in zip(groups, parts, strict=True)], {}


def _returns(group: Group, settings: ReinforcePpSettings) -> labelling.Floats64:
    score_K, counted_K = labelling.penalised(group, 0.0), labelling.counted(group)
    if settings.baseline == "group":
        score_K = group_advantages(score_K, counted_K=counted_K)
    own_R = labelling.over_tokens(group, np.where(counted_K, score_K, 0.0))
    if settings.beta:
        own_R = own_R - settings.beta * to_go(labelling.log_ratios(group), labelling.lengths(group))
    return own_R


def _labelled(group: Group, advantage_R: labelling.Floats64) -> Group:
    kept_R = labelling.over_tokens(group, labelling.counted(group).astype(np.float64))
    return labelling.labelled(group, advantage_R * kept_R)


def _losses(logps: Logps, batch: PackedBatch, settings: ReinforcePpSettings) -> Mapping[str, Tensor]:
    old_R, advantage_R = onpolicy.old(logps, batch), onpolicy.advantage(logps, batch)
    bounds = {"clip_low": settings.clip_low, "clip_high": settings.clip_high}
    loss_R = reinforce_pp(logps.policy_R, old_R, advantage_R, **bounds)
    return {"policy": onpolicy.reduced(loss_R, batch, settings.denominator, settings.constant)}


def _metrics(logps: Logps, batch: PackedBatch, settings: ReinforcePpSettings) -> Mapping[str, Metric]:
    weight_R = batch.response["weight"].index_select(0, batch.response_R)
    ratio_R = kl.ratio(logps.policy_R, onpolicy.old(logps, batch))
    bounds = {"low": settings.clip_low, "high": settings.clip_high}
    clipped = onpolicy.clip_metrics(ratio_R, onpolicy.advantage(logps, batch), weight_R, "token", **bounds)
    return {**onpolicy.phase_metrics(logps, batch), **clipped}


def _at_reference(batch: PackedBatch, settings: Any) -> Mapping[str, Tensor]:
    """A phase that begins at the reference has ρ = 1 there."""
    return {
        "policy": onpolicy.reduced(-batch.token["advantage"].double(), batch, settings.denominator, settings.constant)
    }


OBJECTIVE = Objective(
    summary="policy gradient with advantages whitened over the whole phase, clipped",
    formula="−min(ρ·A, clip(ρ)·A), A = r − β·Σ_{s≥t} log π_old/π_ref whitened over the phase, mean over tokens, then "
    "responses",
    source="Hu 2025 (arXiv:2501.03262)",
    data="prompts",
    settings=ReinforcePpSettings,
    terms=lambda settings: {"policy": Term(onpolicy.unit(settings.denominator))},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=settings.beta > 0, old=settings.beta > 0),
    label=label,
    responses=lambda settings: 2 if settings.baseline == "group" else 1,
    suggests={"train.lr": 5e-7},
    suggested_by="rate and β of OpenRLHF's example for Llama-3-8B, whose author is the paper's",
    facts=Facts(
        at_reference=_at_reference,
        invariant=frozenset({"reference"}),
        variants=(
            {"whiten": False, "denominator": "constant", "constant": 16},
            {"baseline": "group", "denominator": "token"},
        ),
        population=False,
    ),
)
