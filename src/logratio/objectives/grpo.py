"""GRPO, with Dr. GRPO's and DAPO's choices as settings: each response is measured against the others of its prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from ..batch.group import Group
from ..batch.logps import Logps
from ..batch.needs import Needs
from ..batch.packed import PackedBatch
from ..maths import kl as divergence
from ..maths.advantages import Normalise, group_advantages, overlong
from . import labelling, onpolicy
from .base import Labelled, Objective, Settings, Term
from .facts import Facts, Shift
from .metrics import Metric


class GrpoSettings(Settings):
    """Settings of `grpo`."""

    beta: float = Field(0.04, ge=0, description="β, weight of the KL from the reference; 0 reads no reference")
    kl: Literal["k1_reward", "k2", "k3", "rho_k3"] = Field("k3", description="KL: in the reward, or which loss")
    normalise: Normalise = Field("population", description="standard deviation that divides advantages: ÷G, ÷(G−1)")
    leave_one_out: bool = Field(False, description="measure a response against the mean of the others alone")
    denominator: onpolicy.Denominator = Field("response", description="mean over a response's tokens, or all tokens")
    constant: int | None = Field(None, ge=1, description="tokens to divide by, and only with denominator=constant")
    clip_low: float = Field(0.2, gt=0, lt=1, description="ε_low: ratios below 1 − ε_low are held")
    clip_high: float = Field(0.2, gt=0, description="ε_high: ratios above 1 + ε_high are held")
    overlong_start: int | None = Field(None, ge=0, description="tokens from which a response loses up to 1 of score")
    overlong_end: int | None = Field(None, ge=1, description="tokens from which it loses 1")

    @model_validator(mode="after")
    def _belong_together(self) -> GrpoSettings:
        onpolicy.check_constant(self.denominator, self.constant)
        start, end = self.overlong_start, self.overlong_end
        if (start is None) != (end is None) or (start is not None and end is not None and start >= end):
            raise ValueError(
                f"overlong_start is {start} and overlong_end {end}; the punishment grows between the two, so start "
                "must be below end: set both, or leave both out."
            )
        return self


def grpo(logp_R: Tensor, old_R: Tensor, advantage_R: Tensor, *, clip_low: float, clip_high: float) -> Tensor:
    """Clipped policy-gradient loss of each token.

        ℓ_t = −min(ρ_t·A, clip(ρ_t, 1 − ε_low, 1 + ε_high)·A),   ρ_t = π(y_t)/π_old(y_t)

    Shao et al. 2024 (arXiv:2402.03300), Eq. 3, its KL being a term of its own. A is (r − mean)/std over the group's
    scores. Dr. GRPO (arXiv:2503.20783): normalise=none and denominator=constant. DAPO (arXiv:2503.14476):
    denominator=token, clip_high 0.28, beta 0 and the overlong punishment; groups with equal scores have A = 0.

    Args:
        logp_R: log π of R scored tokens, nats.
        old_R: log π_old, the policy that drew them, without gradient; the same numbers in the first inner step.
        advantage_R: A of each token's response.
        clip_low: ε_low in (0, 1).
        clip_high: ε_high > 0.

    Returns:
        Loss per token, [R]; −A where ρ = 1.
    """
    return onpolicy.surrogate(divergence.ratio(logp_R, old_R), advantage_R, clip_low=clip_low, clip_high=clip_high)


def label(groups: Sequence[Group], settings: GrpoSettings, state: Mapping[str, float]) -> Labelled:
    """Give every token its response's advantage; a group without a difference in scores has 0."""
    labelling.at_least_two(groups, "grpo")
    return [_label(group, settings) for group in groups], {}


def _label(group: Group, settings: GrpoSettings) -> Group:
    beta = settings.beta if settings.kl == "k1_reward" else 0.0
    score_K = labelling.penalised(group, beta)
    size = beta * np.abs(labelling.sums(group, labelling.own_logps(group))).max() if beta else 0.0
    if settings.overlong_start is not None and settings.overlong_end is not None:
        length_K = labelling.lengths(group)
        score_K = score_K + overlong(length_K, start=settings.overlong_start, end=settings.overlong_end)
    counted_K = labelling.counted(group)
    advantage_K = group_advantages(
        score_K, normalise=settings.normalise, leave_one_out=settings.leave_one_out, counted_K=counted_K, size=size
    )
    return labelling.labelled(group, labelling.over_tokens(group, advantage_K))


def _penalty(settings: GrpoSettings) -> divergence.Estimator | None:
    """Return the KL estimator that is a term of the loss."""
    return None if settings.beta == 0 or settings.kl == "k1_reward" else settings.kl


def _terms(settings: GrpoSettings) -> Mapping[str, Term]:
    unit = onpolicy.unit(settings.denominator)
    return {"policy": Term(unit), **({"kl": Term(unit, settings.beta)} if _penalty(settings) else {})}


def _reduced(value_R: Tensor, batch: PackedBatch, settings: GrpoSettings) -> Tensor:
    return onpolicy.reduced(value_R, batch, settings.denominator, settings.constant)


def _losses(logps: Logps, batch: PackedBatch, settings: GrpoSettings) -> Mapping[str, Tensor]:
    logp_R, old_R = logps.policy_R, onpolicy.old(logps, batch)
    advantage_R = onpolicy.advantage(logps, batch)
    policy_R = grpo(logp_R, old_R, advantage_R, clip_low=settings.clip_low, clip_high=settings.clip_high)
    out = {"policy": _reduced(policy_R, batch, settings)}
    estimator = _penalty(settings)
    if estimator is not None:
        kl_R = divergence.estimate(estimator, logp_R, old_R, batch.token["reference"].to(logp_R))
        out["kl"] = _reduced(kl_R, batch, settings)
    return out


def _metrics(logps: Logps, batch: PackedBatch, settings: GrpoSettings) -> Mapping[str, Metric]:
    weight_R = batch.response["weight"].index_select(0, batch.response_R)
    ratio_R = divergence.ratio(logps.policy_R, onpolicy.old(logps, batch))
    bounds = {"low": settings.clip_low, "high": settings.clip_high}
    clipped = onpolicy.clip_metrics(ratio_R, onpolicy.advantage(logps, batch), weight_R, "token", **bounds)
    return {**onpolicy.phase_metrics(logps, batch), **clipped}


def _at_reference(batch: PackedBatch, settings: Any) -> Mapping[str, Tensor]:
    """A phase that begins at the reference has ρ = 1 there, and no KL."""
    value = _reduced(-batch.token["advantage"].double(), batch, settings)
    return {"policy": value, **({"kl": torch.zeros_like(value)} if _penalty(settings) else {})}


def _lost(settings: GrpoSettings) -> frozenset[Shift]:
    return frozenset({"reference"}) if _penalty(settings) else frozenset()


OBJECTIVE = Objective(
    summary="policy gradient against the mean of each prompt's samples, clipped",
    formula="−min(ρ·A, clip(ρ)·A) + β·k, A = (r − mean)/std over a prompt's samples, mean over tokens, then responses",
    source="Shao et al. 2024 (arXiv:2402.03300), Eq. 3; Liu et al. 2025 (arXiv:2503.20783); Yu et al. 2025 "
    "(arXiv:2503.14476)",
    data="prompts",
    settings=GrpoSettings,
    terms=_terms,
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=settings.beta > 0, old=settings.beta > 0 and settings.kl == "k1_reward"),
    label=label,
    responses=lambda settings: 2,
    suggests={"train.lr": 1e-6},
    suggested_by="Shao et al. 2024, §4.2: 64 responses a prompt, 1,024 a step, β 0.04",
    facts=Facts(
        at_reference=_at_reference,
        invariant=frozenset({"reference"}),
        lost=_lost,
        variants=(
            {"kl": "k1_reward", "normalise": "none"},
            {"kl": "k2", "denominator": "constant", "constant": 16, "leave_one_out": True},
            {"kl": "rho_k3", "denominator": "token", "clip_high": 0.28, "normalise": "sample"},
            {"overlong_start": 2, "overlong_end": 12, "normalise": "none"},
        ),
        population=False,
    ),
)
