"""PPO: clipped steps on advantages from values, with the KL penalty inside the reward of each token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from ..batch.group import Group
from ..batch.logps import Logps
from ..batch.needs import Needs
from ..batch.packed import PackedBatch
from ..maths import gae, kl
from ..maths.advantages import whiten
from . import labelling, onpolicy
from .base import Labelled, Objective, Settings, Term
from .facts import Facts
from .metrics import Metric

_STEEPEST = 0.2
"""Largest relative error of the KL that an adaptive coefficient answers to."""


class PpoSettings(Settings):
    """Settings of `ppo`."""

    beta: float = Field(0.05, ge=0, description="β in 1/nat: KL penalty per token, inside the reward; where it begins")
    kl_target: float | None = Field(
        None, gt=0, description="nats a response: β follows the KL so that it comes to this; default: β stays"
    )
    kl_horizon: float = Field(10_000, gt=0, description="responses over which β answers to the KL; needs kl_target")
    gamma: float = Field(1.0, ge=0, le=1, description="γ: discount per token")
    lam: float = Field(0.95, ge=0, le=1, description="λ of the advantages: 0 trusts the values, 1 the rewards alone")
    clip: float = Field(0.2, gt=0, description="ε: ratios beyond 1 ± ε that would gain more have no gradient")
    value_clip: float | None = Field(0.2, gt=0, description="how far values are followed per phase; null: any way")
    value_coefficient: float = Field(0.1, gt=0, description="share of the value loss in the loss")
    centre_scores: bool = Field(
        True, description="scores less what the first phase earned beyond its values, so that values begin right"
    )
    whiten: bool = Field(True, description="advantages of a phase to mean 0 and variance 1")
    whiten_rewards: bool = Field(False, description="rewards of a phase to variance 1, their mean kept")
    score_clip: float | None = Field(None, gt=0, description="scores beyond ± this count as it; null: as they are")
    missing_eos: float | None = Field(-1.0, description="score of a response that did not end; null: the judge's")

    @model_validator(mode="after")
    def _beta_can_follow(self) -> PpoSettings:
        if self.kl_target is None and self.kl_horizon != type(self).model_fields["kl_horizon"].default:
            raise ValueError(
                f"kl_horizon is {self.kl_horizon:g} without kl_target, and a β that stays has no horizon; "
                "give kl_target too, or leave kl_horizon out."
            )
        if self.kl_target is not None and not self.beta:
            raise ValueError(
                f"beta is 0 with kl_target {self.kl_target:g}, and β follows the KL by factors, so that from 0 it "
                "never moves; begin with a beta above 0, or leave kl_target out."
            )
        return self


def ppo(ratio: Tensor, advantage: Tensor, *, clip: float) -> Tensor:
    """The clipped surrogate, negated.

        ℓ = −min(ρ·Â, clip(ρ, 1 − ε, 1 + ε)·Â)

    Schulman et al. 2017 (arXiv:1707.06347), Eq. 7.

    Args:
        ratio: ρ = π(y_t)/π_old(y_t), with gradient, [R].
        advantage: Â_t, [R].
        clip: ε > 0.

    Returns:
        Loss per token, [R]; −Â where ρ = 1.
    """
    return onpolicy.surrogate(ratio, advantage, clip_low=clip, clip_high=clip)


def value_loss(value: Tensor, old: Tensor, returns: Tensor, *, clip: float | None) -> Tensor:
    """Return the squared error of each value, the larger of two where values are held near what they were, [R].

        ½·max((V − R̂)², (V_old + clip(V − V_old, ±ε_v) − R̂)²)

    Ziegler et al. 2019 (arXiv:1909.08593, code); `clip` None leaves ½·(V − R̂)².

    Args:
        value: V_t, with gradient, [R].
        old: V_t when the phase began, [R].
        returns: R̂_t = Â_t + V_old, the advantage before whitening, [R].
        clip: ε_v > 0, in the unit of rewards, or None.
    """
    free = (value - returns).square()
    if clip is None:
        return free / 2
    held = old + (value - old).clamp(-clip, clip)
    return torch.maximum(free, (held - returns).square()) / 2


def next_beta(beta: float, penalty: float, *, target: float, responses: float, horizon: float) -> float:
    """Return β·(1 + clip(KL/target − 1, ±0.2)·min(n/horizon, 1)), within a fifth of β and so above 0 as β is.

    Ziegler et al. 2019 (arXiv:1909.08593), section 2.2, which has no minimum: there n is far below the horizon.

    Args:
        beta: β of the phase, in 1/nat.
        penalty: Mean over its responses of Σ_t log π_old/π_ref, nats.
        target: What that is to become, nats, > 0.
        responses: n, of the phase.
        horizon: Responses, > 0.
    """
    error = float(np.clip(penalty / target - 1, -_STEEPEST, _STEEPEST))
    return beta * (1 + error * min(responses / horizon, 1.0))


def rewards(group: Group, settings: PpoSettings, beta: float, origin: float = 0.0) -> NDArray[np.float64]:
    """Return the reward of each scored token, [R]: −β·log π_old/π_ref, and at the last one the score besides.

    Beyond ±`score_clip` scores count as that. The score of a response that did not end by itself is `missing_eos`,
    whatever the judge said. All scores are less `origin`.
    """
    length_K = labelling.lengths(group)
    score_K = np.asarray(group.columns.response["score"], np.float64)
    if settings.score_clip is not None:
        score_K = np.clip(score_K, -settings.score_clip, settings.score_clip)
    if settings.missing_eos is not None:
        score_K = np.where(group.columns.response["ended"] > 0, score_K, settings.missing_eos)
    score_K = np.where(labelling.counted(group), score_K, 0.0)  # one that failed may be NaN
    reward_R = -beta * labelling.log_ratios(group)
    long_K = length_K > 0
    reward_R[(np.cumsum(length_K) - 1)[long_K]] += score_K[long_K] - origin
    return reward_R


def score_origin(groups: Sequence[Group], settings: PpoSettings, beta: float) -> float | None:
    """Return what responses earn beyond the value of their first token, in the unit of scores; None where none counts.

    Values that begin at 0 while every score is 0.5 lag behind by 0.5 at each token. Discounted by λ that is an
    advantage for being near the end, and the policy learns to end before the values have learned anything. With γ = 1,
    scores less this number are the same as values that begin higher by it.
    """
    beyond: list[float] = []
    for group in groups:
        earned_K, ends_K = labelling.sums(group, rewards(group, settings, beta)), np.cumsum(labelling.lengths(group))
        first_K = ends_K - labelling.lengths(group)
        own_K = labelling.counted(group) & (ends_K > first_K)
        beyond += list(earned_K[own_K] - group.columns.token["value_old"][first_K[own_K]])
    return float(np.mean(beyond)) if beyond else None


def label(groups: Sequence[Group], settings: PpoSettings, state: Mapping[str, float]) -> Labelled:
    """Return a phase with token columns `advantage` and `return`, and for the next β and the origin of scores.

    Whitening takes the mean and the variance over all scored tokens of the phase whose response counts. The origin is
    settled by the first phase in which any does: `score_settled` is 0 before, and 1 from then on.
    """
    beta = state["kl_coefficient"]
    centre = _centre(groups, settings, state)
    origin = centre.get("score_origin", 0.0)
    length_G = [group.scored for group in groups]
    length_S = np.concatenate([labelling.lengths(group) for group in groups])
    weight_S = np.concatenate([group.columns.response["weight"] * labelling.counted(group) for group in groups])
    weight_R = np.repeat(np.asarray(weight_S, np.float64), length_S)
    if not weight_R.any():  # no response was judged, so that nothing counts
        weight_R = np.ones_like(weight_R)
    reward_R = np.concatenate([rewards(group, settings, beta, origin) for group in groups])
    value_R = np.concatenate([np.asarray(group.columns.token["value_old"], np.float64) for group in groups])
    if settings.whiten_rewards:
        reward_R = whiten(reward_R, weight=weight_R, centre=False)
    advantage_R = gae.advantages(reward_R, value_R, length_S, gamma=settings.gamma, lam=settings.lam)
    return_R = advantage_R + value_R
    explained = gae.explained_variance(return_R, value_R, weight_R)
    if settings.whiten:
        advantage_R = whiten(advantage_R, weight=weight_R)
    ends = np.cumsum(length_G)[:-1]
    kind = groups[0].columns.response["weight"].dtype
    made = [
        group.with_columns(
            token={"advantage": own.astype(kind), "return": returns.astype(kind)},
            group={"kl_coefficient": np.array([beta], kind), "explained_variance": np.array([explained], kind)},
        )
        for group, own, returns in zip(groups, np.split(advantage_R, ends), np.split(return_R, ends), strict=True)
    ]
    return made, {"kl_coefficient": _following(groups, settings, beta), **centre}


def _centre(groups: Sequence[Group], settings: PpoSettings, state: Mapping[str, float]) -> dict[str, float]:
    if not settings.centre_scores:
        return {}
    origin, settled = state["score_origin"], state["score_settled"]
    if settled < 1 and (found := score_origin(groups, settings, state["kl_coefficient"])) is not None:
        origin, settled = settled * origin + (1 - settled) * found, 1.0
    return {"score_origin": origin, "score_settled": settled}


def _state(settings: PpoSettings) -> dict[str, float]:
    centre = {"score_origin": 0.0, "score_settled": 0.0} if settings.centre_scores else {}
    return {"kl_coefficient": settings.beta, **centre}


def _following(groups: Sequence[Group], settings: PpoSettings, beta: float) -> float:
    counted = [labelling.counted(group) for group in groups]
    penalties = [
        labelling.sums(group, labelling.log_ratios(group))[own] for group, own in zip(groups, counted, strict=True)
    ]
    penalty_S = np.concatenate(penalties)
    if settings.kl_target is None or not len(penalty_S):
        return beta
    target, horizon = settings.kl_target, settings.kl_horizon
    return next_beta(beta, float(penalty_S.mean()), target=target, responses=len(penalty_S), horizon=horizon)


def _old_values(logps: Logps, batch: PackedBatch) -> tuple[Tensor, Tensor]:
    assert logps.value_R is not None
    column_R = batch.token.get("value_old")
    return logps.value_R, logps.value_R.detach() if column_R is None else column_R.to(logps.value_R)


def _ratio(logps: Logps, batch: PackedBatch) -> Tensor:
    return kl.ratio(logps.policy_R, onpolicy.old(logps, batch))


def _losses(logps: Logps, batch: PackedBatch, settings: PpoSettings) -> Mapping[str, Tensor]:
    value_R, old_R = _old_values(logps, batch)
    return {
        "policy": ppo(_ratio(logps, batch), onpolicy.advantage(logps, batch), clip=settings.clip),
        "value": value_loss(value_R, old_R, batch.token["return"].to(value_R), clip=settings.value_clip),
    }


def _metrics(logps: Logps, batch: PackedBatch, settings: PpoSettings) -> Mapping[str, Metric]:
    weight_R = batch.response["weight"].to(logps.policy_R).index_select(0, batch.response_R)
    value_R, old_R = _old_values(logps, batch)
    return_R = batch.token["return"].to(value_R)
    loss_R = value_loss(value_R, old_R, return_R, clip=settings.value_clip)
    bounds = {"low": settings.clip, "high": settings.clip}
    found = {
        **onpolicy.phase_metrics(logps, batch),
        **onpolicy.clip_metrics(
            _ratio(logps, batch).detach(), onpolicy.advantage(logps, batch), weight_R, "token", **bounds
        ),
        "value_loss": Metric(loss_R, "token", weight_R),
        "return": Metric(return_R, "token", weight_R),
        "value": Metric(value_R, "token", weight_R),
        "explained_variance": Metric(batch.group["explained_variance"], "group"),
        "kl_coefficient": Metric(batch.group["kl_coefficient"], "group"),
    }
    if settings.value_clip is not None:
        beyond_R = (value_R - old_R).abs() > settings.value_clip
        found["value_clipped"] = Metric(beyond_R.to(value_R), "token", weight_R)
    return found


OBJECTIVE = Objective(
    summary="clipped steps on advantages from values, the KL penalty inside the reward",
    formula="−min(ρÂ, clip(ρ, 1±ε)Â) + c·½max((V − R̂)², (V_clip − R̂)²), mean over tokens; Â = Σ(γλ)ᵏδ of rewards "
    "−β·log π_old/π_ref + score − c at the end",
    source="Schulman et al. 2017 (arXiv:1707.06347); Ziegler et al. 2019 (arXiv:1909.08593)",
    data="prompts",
    settings=PpoSettings,
    terms=lambda settings: {"policy": Term("token"), "value": Term("token", settings.value_coefficient)},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=True, old=True, value=True),
    state=_state,
    update=lambda logps, batch, settings: batch.state,
    label=label,
    suggests={"train.lr": 3e-6},
    suggested_by="Huang et al. 2024 (arXiv:2403.17031)",
    facts=Facts(
        at_reference=lambda batch, settings: {"policy": -batch.token["advantage"].double()},
        invariant=frozenset({"reference"}),
        variants=(
            {"value_clip": None, "whiten": False, "gamma": 0.9, "missing_eos": None, "score_clip": 0.5},
            {"whiten_rewards": True, "kl_target": 0.006, "lam": 1.0},
        ),
        population=False,
    ),
)
