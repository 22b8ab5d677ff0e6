"""Are implied win probabilities right? Of held-out pairs called with 80 %, four in five should be judged so.

A pair has no first response of its own, so a call is looked at from the side that it favours: confidence
c = max(p, 1 − p), and whether the favoured response is the preferred one, r.

    brier            mean (p − y)²; a coin's is ¼, a perfect call's 0
                     = reliability − resolution + uncertainty + within
    reliability      Σ_b n_b/n·(c̄_b − r̄_b)²: how far calls are from what comes of them, bin by bin
    resolution       Σ_b n_b/n·(r̄_b − ½)²: how far bins are from a coin; at most ¼
    uncertainty      mean (y − ½)²: ¼ for plain labels
    within           Σ_b n_b/n·(Var_b c − 2·Cov_b(c, r)): what calls differ by inside a bin (Stephenson et al. 2008)
    ece              Σ_b n_b/n·|c̄_b − r̄_b|, less its bias
    overconfidence   mean (c − r); above 0: surer than right

Both orders of a pair are counted, so the base rate is ½ and the decomposition of Murphy (1973) holds exactly. Bins have
equal mass (Nguyen and O'Connor 2015); equal calls are never divided. |·| of a noisy difference is too large (Kumar et
al. 2019, arXiv:1909.10155): reported is the error of the same differences scaled down until, with their noise on top,
they are expected to look as they do. At the ends of the interval they would look so, or less or more so, in 2.5 % of
cases. The noise has the covariance of the bins' differences, clustered by prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..batch.group import Group
from ..batch.logps import Logps
from ..maths.counter import stream
from ..maths.intervals import Measure, mean_interval, share_interval
from ..objectives.base import Objective, Settings
from .implied import Implied, implied, why_not

NAMES = ("brier", "ece", "overconfidence")
"""Measures of calibration."""

UNDECIDED = "Calibration is not measured: no held-out pair has a winner, or the loss is flat at one of them."

MOST, LEAST = 10, 20
"""Bins, and pairs that each has at least, as far as equal calls allow."""

EVEN = 2.5e-5
"""A call this close to ½ favours neither response: log-ratios within 1e-4 nat are rounding."""

_DRAWS, _TAIL = 2048, 0.025

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """How right the calls on held-out pairs are.

    Attributes:
        measures: By `NAMES`.
        bins: From unsure to sure: {predicted, observed, low, high, n}, shares; low and high are 95 % of observed.
        parts: reliability, resolution, uncertainty and within, whose signed sum is the Brier score.
    """

    measures: Mapping[str, Measure]
    bins: Sequence[Mapping[str, float | int | None]]
    parts: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return bins and parts as plain JSON values."""
        return {"bins": [dict(own) for own in self.bins], **self.parts}


def calibrated(
    objective: Objective, settings: Settings, groups: Sequence[Group], logps: Logps, state: Mapping[str, Tensor]
) -> tuple[dict[str, Measure], dict[str, Any]]:
    """Return the measures of calibration by name, and what a plot needs of it.

    Args:
        objective: The loss whose slopes say what a margin implies.
        settings: Its settings.
        groups: Held-out groups, with the reference's log-probs where the loss reads them.
        logps: Their floats laid end to end.
        state: The objective's running values.

    Returns:
        Measures, and `Calibration.to_json()`; or no measures, and {"why_not": a sentence}.
    """
    reason = unmeasured(objective, settings, groups)
    calls = None if reason else implied(objective, settings, groups, logps, state)
    if calls is None:
        return {}, {"why_not": reason or UNDECIDED}
    found = calibration(calls)
    return dict(found.measures), found.to_json()


def unmeasured(objective: Objective, settings: Settings, groups: Sequence[Group]) -> str | None:
    """Return why calibration is not measured, a sentence; None where it is, as far as the loss goes."""
    paired = next((group for group in groups if len(group.edges)), None)
    if paired is None:
        return "Calibration is not measured: the held-out data has no pairs."
    clause = why_not(objective, settings, paired)
    return clause and f"Calibration is not measured: this loss implies no probability of winning, since {clause}."


def calibration(calls: Implied, *, most: int = MOST, least: int = LEAST) -> Calibration:
    """Return how right calls are.

    Args:
        calls: At least one pair.
        most: Bins at most, ≥ 1.
        least: Pairs a bin, ≥ 1.
    """
    p, y = calls.probability, calls.preferred
    even = np.abs(p - 0.5) <= EVEN
    sure: Floats = np.where(even, 0.5, np.maximum(p, 1 - p))
    right: Floats = np.where(even, 0.5, np.where(p > 0.5, y, 1 - y))
    bin_E = equal_mass(sure, min(most, max(1, len(sure) // least)))
    size = np.bincount(bin_E)
    share, predicted, observed = size / len(p), _means(bin_E, sure, size), _means(bin_E, right, size)
    spread = _means(bin_E, (sure - predicted[bin_E]) * (sure - predicted[bin_E] - 2 * (right - observed[bin_E])), size)
    prompts = calls.prompt
    low, high = _ends(bin_E, right, prompts)
    return Calibration(
        measures={
            "brier": mean_interval((p - y) ** 2, clusters=prompts.tolist()),
            "ece": _error(bin_E, right - sure, prompts, predicted),
            "overconfidence": mean_interval(sure - right, clusters=prompts.tolist()),
        },
        bins=[
            {"predicted": float(predicted[b]), "observed": float(observed[b]), "low": low[b], "high": high[b], "n": n}
            for b, n in enumerate(size.tolist())
        ],
        parts={
            "reliability": float((share * (predicted - observed) ** 2).sum()),
            "resolution": float((share * (observed - 0.5) ** 2).sum()),
            "uncertainty": float(((y - 0.5) ** 2).mean()),
            "within": float((share * spread).sum()),
        },
    )


def equal_mass(values: Floats, count: int) -> NDArray[np.int64]:
    """Return the bin of each value: about equally many in each of at most `count`, equal values in one, [n].

    Bins are numbered by value from 0, none is empty.
    """
    ordered = np.sort(values)
    cuts = np.unique(ordered[[round(k * len(values) / count) for k in range(1, count)]])
    return np.unique(np.searchsorted(cuts, values, side="right"), return_inverse=True)[1].astype(np.int64)


def _means(bin_E: NDArray[np.int64], values: Floats, size: NDArray[np.int64]) -> Floats:
    return np.bincount(bin_E, weights=values, minlength=len(size)) / size


def _ends(
    bin_E: NDArray[np.int64], right: Floats, prompt: NDArray[np.int64]
) -> tuple[list[float | None], list[float | None]]:
    """Return the interval of each bin's share of right calls."""
    found = [share_interval(right[own], prompt[own].tolist()) for own in (bin_E == b for b in range(bin_E.max() + 1))]
    return [own.low for own in found], [own.high for own in found]


def _error(bin_E: NDArray[np.int64], off: Floats, prompt: NDArray[np.int64], predicted: Floats) -> Measure:
    """Return the expected calibration error without its bias, with its interval.

    Args:
        bin_E: Bin of each pair.
        off: r − c of each pair.
        prompt: Prompts, the clusters.
        predicted: Mean confidence of each bin.
    """
    n, size = len(off), np.bincount(bin_E)
    share, gap = size / n, np.bincount(bin_E, weights=off) / size
    plain = float((share * np.abs(gap)).sum())
    cluster = np.unique(prompt, return_inverse=True)[1]
    count = int(cluster.max()) + 1
    if count < 2:
        return Measure(plain, None, None, n)
    pull = np.zeros((count, len(size)))
    np.add.at(pull, (cluster, bin_E), (off - gap[bin_E]) / size[bin_E])
    covariance = count / (count - 1) * pull.T @ pull
    # Where all calls of a bin came out alike, nothing varies: at least as much as if they had been right as called.
    floor = np.where(np.diag(covariance) <= 1e-12, predicted * (1 - predicted) / size, 0.0)
    values, vectors = np.linalg.eigh(covariance + np.diag(floor))
    noise = stream("calibration").standard_normal((_DRAWS, len(size))) @ (vectors * np.sqrt(values.clip(min=0))).T

    def looks(scale: float) -> Floats:
        return np.asarray(np.abs(scale * gap + noise) @ share)

    found = _scale(lambda scale: float(looks(scale).mean()) < plain)
    low = _scale(lambda scale: float((looks(scale) >= plain).mean()) < _TAIL)
    high = _scale(lambda scale: float((looks(scale) <= plain).mean()) > _TAIL)
    mean, least, most = (min(1.0, scale * plain) for scale in (found, min(low, found), max(high, found)))
    return Measure(mean, least, most, n, float(looks(1.0).std()))


def _scale(below: Callable[[float], bool]) -> float:
    """Return the scale in [0, 8] at which something that rises with it stops being below, by bisection."""
    low, high = 0.0, 8.0
    if not below(low):
        return low
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return (low + high) / 2
