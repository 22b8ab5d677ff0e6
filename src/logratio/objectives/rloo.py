"""RLOO: REINFORCE on whole responses, each measured against the mean of the others of its prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field
from torch import Tensor

from ..batch.group import Group
from ..batch.logps import Logps
from ..batch.needs import Needs
from ..batch.packed import PackedBatch
from ..maths import kl
from ..maths.advantages import group_advantages
from . import labelling, onpolicy
from .base import Labelled, Objective, Settings, Term
from .facts import Facts
from .metrics import Metric


class RlooSettings(Settings):
    """Settings of `rloo`."""

    beta: float = Field(0.03, ge=0, description="β, weight of the KL from the reference in the reward")
    clip: float | None = Field(None, gt=0, lt=1, description="ε: a response's ratio is held in 1 ± ε; null: nowhere")


def rloo(logp_S: Tensor, old_S: Tensor, advantage_S: Tensor, *, clip: float | None = None) -> Tensor:
    """Policy-gradient loss of each response.

        ℓ = −ρ·A,   ρ = π(y|x)/π_old(y|x),   A = R − mean of the others' R,   R = r − β·log π_old(y|x)/π_ref(y|x)

    Ahmadian et al. 2024 (arXiv:2402.14740), §2.2. The expected gradient in the first inner step is that of
    −(E r − β·KL(π‖π_ref)), whatever the lengths and the number of responses. In later inner steps ρ keeps it so; `clip`
    bounds it as PPO does, which the paper does not.

    Args:
        logp_S: log π(y|x) of S responses, nats.
        old_S: The same of the policy that drew them, without gradient; the same numbers in the first inner step.
        advantage_S: A.
        clip: ε in (0, 1), or None.

    Returns:
        Loss per response, [S]; −A where ρ = 1.
    """
    return onpolicy.surrogate(kl.ratio(logp_S, old_S), advantage_S, clip_low=clip, clip_high=clip)


def label(groups: Sequence[Group], settings: RlooSettings, state: Mapping[str, float]) -> Labelled:
    """Give every token its response's advantage, the KL being part of the reward."""
    labelling.at_least_two(groups, "rloo")
    return [_label(group, settings) for group in groups], {}


def _label(group: Group, settings: RlooSettings) -> Group:
    score_K, counted_K = labelling.penalised(group, settings.beta), labelling.counted(group)
    advantage_K = group_advantages(score_K, leave_one_out=True, counted_K=counted_K)
    return labelling.labelled(group, labelling.over_tokens(group, advantage_K))


def _sums(logps: Logps, batch: PackedBatch) -> tuple[Tensor, Tensor]:
    own_S, old_S = (batch.sum_by_response(value_R) for value_R in (logps.policy_R, onpolicy.old(logps, batch)))
    return own_S, old_S


def _losses(logps: Logps, batch: PackedBatch, settings: RlooSettings) -> Mapping[str, Tensor]:
    return {"rloo": rloo(*_sums(logps, batch), onpolicy.advantage_by_response(logps, batch), clip=settings.clip)}


def _metrics(logps: Logps, batch: PackedBatch, settings: RlooSettings) -> Mapping[str, Metric]:
    found = onpolicy.phase_metrics(logps, batch)
    if settings.clip is None:
        return found
    ratio_S, advantage_S = kl.ratio(*_sums(logps, batch)), onpolicy.advantage_by_response(logps, batch)
    bounds = {"low": settings.clip, "high": settings.clip}
    clipped = onpolicy.clip_metrics(ratio_S, advantage_S, batch.response["weight"], "response", **bounds)
    return {**found, **clipped}


def _at_reference(batch: PackedBatch, settings: RlooSettings) -> Mapping[str, Tensor]:
    """A phase that begins at the reference has ρ = 1 there."""
    return {"rloo": -batch.sum_by_response(batch.token["advantage"].double()) / batch.length_S}


OBJECTIVE = Objective(
    summary="REINFORCE on whole responses against the mean of the others",
    formula="−ρ·(R − mean of the others' R), R = r − β·log π_old/π_ref, ρ = π/π_old of a response, mean over responses",
    source="Ahmadian et al. 2024 (arXiv:2402.14740), §2.2",
    data="prompts",
    settings=RlooSettings,
    terms=lambda settings: {"rloo": Term("response")},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=settings.beta > 0, old=settings.beta > 0),
    label=label,
    responses=lambda settings: 2,
    suggests={"train.lr": 1e-6},
    suggested_by="Ahmadian et al. 2024, appendix C, as TRL quotes it, not checked against the paper",
    facts=Facts(
        at_reference=_at_reference,
        invariant=frozenset({"reference"}),
        variants=({"clip": 0.2},),
        population=False,
    ),
)
