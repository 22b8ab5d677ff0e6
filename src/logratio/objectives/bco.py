"""BCO: a binary classifier of good and bad responses, its reward shifted by a running mean."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from ..batch.logps import Logps
from ..batch.needs import Needs
from ..batch.packed import PackedBatch
from . import views
from .base import Objective, Settings, Term
from .facts import Facts
from .metrics import Metric

STATE = ("good_sum", "good_count", "bad_sum", "bad_count")


class BcoSettings(Settings):
    """Settings of `bco`."""

    beta: float = Field(0.01, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")
    decay: float = Field(0.9, ge=0, le=1, description="share of the running sums kept at each step; 1 forgets nothing")


def bco(logratio: Tensor, good: Tensor, shift: Tensor, *, beta: float) -> Tensor:
    """Cross-entropy of a classifier whose logit is the implicit reward beyond a shift.

        r̂ = β·log π(y|x)/π_ref(y|x)
        ℓ = −log σ(r̂ − δ)   where the response is good
        ℓ = −log σ(δ − r̂)   where it is bad

    Jung et al. 2024 (arXiv:2404.04656). For every δ, the sum over a pair is at least its DPO loss.

    Args:
        logratio: log π/π_ref of S responses, float32 [S], nats, summed over response tokens.
        good: 1 where labelled good, 0 where bad, [S].
        shift: δ, scalar, in units of reward, without gradient.
        beta: β > 0, in 1/nat.

    Returns:
        Loss per response, [S].
    """
    sign = 2 * good - 1
    return softplus(-sign * (beta * logratio - shift))


def reward_shift(sums: Mapping[str, Tensor]) -> Tensor:
    """Return δ = ½·(E₊ r̂ + E₋ r̂), scalar, each label's own mean counting half however many there are of it.

    The paper's definition. A label not seen yet counts as r̂ = 0, its value at the reference. Some implementations take
    one mean over all responses instead, which leans to the more frequent label, or leave δ out.

    Args:
        sums: Weighted sums of r̂ and of 1 over each label, by the names in `STATE`.
    """
    means = [sums[f"{label}_sum"] / sums[f"{label}_count"].clamp(min=1e-12) for label in ("good", "bad")]
    return (means[0] + means[1]) / 2


def _following(logps: Logps, batch: PackedBatch, settings: BcoSettings) -> dict[str, Tensor]:
    """Return the running sums with this step's responses in them, by their weights, without gradient."""
    reward = settings.beta * views.responses(logps, batch).logratio.detach().double()
    weight, good = batch.response["weight"].double(), batch.response["label"].double()
    step = {
        "good_sum": (weight * good * reward).sum(),
        "good_count": (weight * good).sum(),
        "bad_sum": (weight * (1 - good) * reward).sum(),
        "bad_count": (weight * (1 - good)).sum(),
    }
    return {name: settings.decay * batch.state[name] + step[name] for name in STATE}


def _losses(logps: Logps, batch: PackedBatch, settings: BcoSettings) -> Mapping[str, Tensor]:
    logratio = views.responses(logps, batch).logratio
    shift = reward_shift(_following(logps, batch, settings)).to(logratio)
    return {"bco": bco(logratio, batch.response["label"].to(logratio), shift, beta=settings.beta)}


def _metrics(logps: Logps, batch: PackedBatch, settings: BcoSettings) -> Mapping[str, Metric]:
    seen = views.responses(logps, batch)
    own, good = (batch.response["weight"] > 0).float(), batch.response["label"]
    return {
        "logratio_desirable": Metric(seen.logratio, "response", own * good),
        "logratio_undesirable": Metric(seen.logratio, "response", own * (1 - good)),
        "reward_shift": Metric(reward_shift(_following(logps, batch, settings)).reshape(1), "step"),
    }


def _at_reference(batch: PackedBatch, settings: BcoSettings) -> Mapping[str, Tensor]:
    reference = Logps(batch.token["reference"].double())
    return {"bco": softplus((2 * batch.response["label"] - 1) * reward_shift(_following(reference, batch, settings)))}


OBJECTIVE = Objective(
    summary="a classifier of good and bad responses, one at a time, with a running reward shift",
    formula="−log σ(±(β·log π/π_ref − δ)), δ = ½(E₊ + E₋) of β·log π/π_ref, running; mean over responses of the step",
    source="Jung et al. 2024 (arXiv:2404.04656)",
    data="labels",
    settings=BcoSettings,
    terms=lambda settings: {"bco": Term("response")},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=True),
    state=lambda settings: dict.fromkeys(STATE, 0.0),
    update=_following,
    scope="step",
    suggests={"train.lr": 5e-7, "train.batch_size": 128},
    suggested_by="Jung et al. 2024",
    facts=Facts(at_reference=_at_reference, detached=True, population=False),
)
