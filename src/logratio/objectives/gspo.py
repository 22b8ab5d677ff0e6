"""GSPO: GRPO with one ratio a response, the geometric mean of its tokens' ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field
from torch import Tensor

from ..batch.group import Group
from ..batch.logps import Logps
from ..batch.packed import PackedBatch
from ..maths import kl
from ..maths.advantages import Normalise, group_advantages
from . import labelling, onpolicy
from .base import Labelled, Objective, Settings, Term
from .facts import Facts
from .metrics import Metric


class GspoSettings(Settings):
    """Settings of `gspo`."""

    normalise: Normalise = Field("population", description="standard deviation that divides advantages: ÷G, ÷(G−1)")
    clip_low: float = Field(3e-4, gt=0, lt=1, description="ε_low: ratios below 1 − ε_low are held")
    clip_high: float = Field(4e-4, gt=0, description="ε_high: ratios above 1 + ε_high are held")


def gspo(logp_S: Tensor, old_S: Tensor, advantage_S: Tensor, *, clip_low: float, clip_high: float) -> Tensor:
    """Clipped policy-gradient loss of each response, by its ratio per token.

        ℓ = −min(s·A, clip(s, 1 − ε_low, 1 + ε_high)·A),   s = (π(y|x)/π_old(y|x))^(1/|y|)

    Zheng et al. 2025 (arXiv:2507.18071), Eq. 5 and 7; there is no KL in it.

    Args:
        logp_S: log π(y|x)/|y| of S responses, nat/token.
        old_S: The same of the policy that drew them, without gradient; the same numbers in the first inner step.
        advantage_S: A = (r − mean)/std over the prompt's responses.
        clip_low: ε_low in (0, 1).
        clip_high: ε_high > 0.

    Returns:
        Loss per response, [S]; −A where s = 1.
    """
    return onpolicy.surrogate(kl.ratio(logp_S, old_S), advantage_S, clip_low=clip_low, clip_high=clip_high)


def label(groups: Sequence[Group], settings: GspoSettings, state: Mapping[str, float]) -> Labelled:
    """Give every token its response's advantage; a group without a difference in scores has 0."""
    labelling.at_least_two(groups, "gspo")
    return [_label(group, settings) for group in groups], {}


def _label(group: Group, settings: GspoSettings) -> Group:
    score_K, counted_K = labelling.penalised(group, 0.0), labelling.counted(group)
    advantage_K = group_advantages(score_K, normalise=settings.normalise, counted_K=counted_K)
    return labelling.labelled(group, labelling.over_tokens(group, advantage_K))


def _means(logps: Logps, batch: PackedBatch) -> tuple[Tensor, Tensor]:
    length_S = onpolicy.length(logps, batch)
    sums = (batch.sum_by_response(value_R) for value_R in (logps.policy_R, onpolicy.old(logps, batch)))
    own_S, old_S = (sum_S / length_S for sum_S in sums)
    return own_S, old_S


def _losses(logps: Logps, batch: PackedBatch, settings: GspoSettings) -> Mapping[str, Tensor]:
    own_S, old_S = _means(logps, batch)
    advantage_S = onpolicy.advantage_by_response(logps, batch)
    return {"gspo": gspo(own_S, old_S, advantage_S, clip_low=settings.clip_low, clip_high=settings.clip_high)}


def _metrics(logps: Logps, batch: PackedBatch, settings: GspoSettings) -> Mapping[str, Metric]:
    ratio_S, advantage_S = kl.ratio(*_means(logps, batch)), onpolicy.advantage_by_response(logps, batch)
    bounds = {"low": settings.clip_low, "high": settings.clip_high}
    clipped = onpolicy.clip_metrics(ratio_S, advantage_S, batch.response["weight"], "response", **bounds)
    return {**onpolicy.phase_metrics(logps, batch), **clipped}


OBJECTIVE = Objective(
    summary="GRPO with one clipped ratio a response",
    formula="−min(s·A, clip(s)·A), s = exp mean_t log π/π_old, A = (r − mean)/std over a prompt's samples, mean over "
    "responses",
    source="Zheng et al. 2025 (arXiv:2507.18071), Eq. 5",
    data="prompts",
    settings=GspoSettings,
    terms=lambda settings: {"gspo": Term("response")},
    losses=_losses,
    metrics=_metrics,
    label=label,
    responses=lambda settings: 2,
    suggests={"train.lr": 1e-6},
    suggested_by="GRPO's (Shao et al. 2024); the paper gives the clipping range, not the rate",
    facts=Facts(variants=({"normalise": "none"}, {"normalise": "sample"}), population=False),
)
