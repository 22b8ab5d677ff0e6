"""Per-item values of a whole data set → means with intervals, items that share a prompt counted as one cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..batch.group import Floats, Group
from ..batch.logps import Logps
from ..batch.packed import PackedBatch, pack
from ..logps.whole import join
from ..maths.intervals import Measure, mean_interval, share_interval
from ..metrics import METRICS
from ..objectives.base import Objective, Settings, Term
from ..objectives.metrics import Metric

_SHARES = {name for name, metric in METRICS.items() if metric.share}


@dataclass(frozen=True)
class Scored:
    """A data set laid end to end, with a policy's log-probs.

    Attributes:
        logps: Log-probs of all scored tokens, float64 so that long sums do not round.
        batch: The same groups as one batch, which no model has to hold.
        prompt_G: Number of each group's prompt; groups with equal prompt tokens share it.
    """

    logps: Logps
    batch: PackedBatch
    prompt_G: Tensor

    @classmethod
    def of(cls, groups: Sequence[Group], values: Sequence[Floats]) -> Scored:
        """Join groups with their log-probs, one array a group, as `score` returns them."""
        joined = np.concatenate([np.zeros(0, np.float32), *values])
        return cls.whole(groups, Logps(torch.from_numpy(joined)))

    @classmethod
    def whole(cls, groups: Sequence[Group], logps: Logps, state: Mapping[str, Tensor] | None = None) -> Scored:
        """Join groups with their floats laid end to end, and with an objective's running values."""
        groups = list(groups)
        wide = join([logps], lambda values, _: values[0].double())
        return cls(wide, pack(groups).with_state(state or {}), torch.from_numpy(prompt_numbers(groups)))

    def measure(self, name: str, metric: Metric) -> Measure:
        """Return a metric's mean with its interval: Wilson's for a share, else Student's."""
        if metric.unit == "step":
            return Measure(float(metric.value.mean()), None, None, len(metric.value))
        return self.share(metric) if name in _SHARES else self.mean(metric)

    def mean(self, metric: Metric) -> Measure:
        """Return Σ w·v / Σ w with its interval; items of weight 0 are left out."""
        kept = self._kept(metric)
        weight = None if metric.weight is None else metric.weight[kept].double().numpy()
        return mean_interval(metric.value[kept].double().numpy(), weight, self._prompt_of(metric.unit)[kept].tolist())

    def share(self, metric: Metric) -> Measure:
        """Return the mean of values in [0, 1], each item counted once but for those of weight 0, with its interval."""
        kept = self._kept(metric)
        return share_interval(metric.value[kept].double().numpy(), self._prompt_of(metric.unit)[kept].tolist())

    def _kept(self, metric: Metric) -> Tensor:
        return torch.ones_like(metric.value, dtype=torch.bool) if metric.weight is None else metric.weight > 0

    def _prompt_of(self, unit: str) -> Tensor:
        """Return the prompt number of every item of a unit."""
        if unit == "group":
            return self.prompt_G
        prompt_S = self.prompt_G.index_select(0, self.batch.spans.group_S)
        if unit == "response":
            return prompt_S
        return prompt_S.index_select(0, self.batch.winner_E if unit == "edge" else self.batch.response_R)


def prompt_numbers(groups: Sequence[Group]) -> NDArray[np.int64]:
    """Number prompts in order of appearance, [G]; groups with equal prompt tokens share a number."""
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(group.prompt.tobytes(), len(seen)) for group in groups], np.int64)


def objective_measures(scored: Scored, objective: Objective, settings: Settings) -> dict[str, Measure]:
    """Return an objective's terms and metrics over a whole data set, as if it were one step.

    A single term is called `loss`, each of several `loss_NAME`.
    """
    terms = objective.terms(settings)
    called = _loss_names(terms)
    losses = objective.losses(scored.logps, scored.batch, settings)
    values: Mapping[str, Metric] = {
        called[name]: Metric(loss, unit, _weights(scored.batch, unit))
        for name, loss in losses.items()
        for unit in [terms[name].unit]
    }
    values = {**values, **objective.measured(scored.logps, scored.batch, settings)}
    return {name: scored.measure(name, metric) for name, metric in values.items()}


def measured_names(objective: Objective, settings: Settings, group: Group) -> list[str]:
    """Return the names that `objective_measures` has on groups with the columns of this one, without any model."""
    own = group.with_columns(token={"reference": np.zeros(group.scored, np.float32)})
    state = {name: torch.tensor(value).double() for name, value in objective.state(settings).items()}
    batch = pack([own]).with_state(state)
    return [*_loss_names(objective.terms(settings)).values(), *metric_names(objective, settings, batch)]


def metric_names(objective: Objective, settings: Settings, batch: PackedBatch) -> list[str]:
    """Return the names of an objective's metrics on batches with the columns of this one."""
    zeros_R, zeros_S = torch.zeros(len(batch.target_R)), torch.zeros(batch.responses)
    logps = Logps(zeros_R, zeros_R, zeros_R, None, zeros_R, zeros_S, value_R=zeros_R)
    return list(objective.measured(logps, batch, settings))


def _loss_names(terms: Mapping[str, Term]) -> dict[str, str]:
    return {name: "loss" if len(terms) == 1 else f"loss_{name}" for name in terms}


def _weights(batch: PackedBatch, unit: str) -> Tensor | None:
    """Return the data's weight of each item of a unit."""
    if unit == "token":
        return batch.response["weight"].index_select(0, batch.response_R)
    return {"edge": batch.edge, "response": batch.response}[unit]["weight"] if unit != "group" else None
