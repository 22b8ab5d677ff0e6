"""Margins explained by differences of cues: a ridge regression without intercept, judged on prompts not fitted to.

    m_i ≈ Σ_c b_c·(φ_c(y⁺_i) − φ_c(y⁻_i))

There is no intercept, and nothing is centred: exchanging a pair's responses changes the sign of both sides, so which of
them is called the first cannot matter. Margins and differences are divided by their root mean squares, so that a
coefficient is in typical margins per typical difference. Shares are of Σ m², with b = 0 as what explains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..maths.counter import permutation
from ..maths.intervals import Measure, mean_interval, t_quantile

Floats = NDArray[np.float64]

FOLDS = 10
RARE = 0.01
"""Share of pairs in which a cue must differ, else nothing can be said of it; at least 5 pairs."""

ALIKE = 0.98
"""Cosine from which on two cues' differences say the same; the first of them stays."""

_PENALTIES = np.logspace(-4, 4, 25)  # times the number of pairs


@dataclass(frozen=True)
class Cue:
    """What one cue has to do with the margins.

    Attributes:
        name: Its name.
        coefficient: Typical margins per typical difference, the other cues held fixed; shrunken by the penalty.
        low, high: 95 % of it, clustered by prompt; None of a single prompt.
        clear: Whether it differs from 0 even if that many cues had been tried at random (Bonferroni).
        alone: Share of Σ m² that it explains by itself, on the pairs that it was fitted to.
    """

    name: str
    coefficient: float
    low: float | None
    high: float | None
    clear: bool
    alone: float


@dataclass(frozen=True)
class Explained:
    """What cues explain of margins.

    Attributes:
        share: Cross-validated share explained, folds by prompt; at most 1, below 0 where the fit is worse than none.
        cues: Largest coefficient first.
        same: Cue left out → the one that says the same.
        rare: Cues left out because they hardly ever differ.
        pairs, prompts: How many there are.
        penalty: Of the ridge, over all pairs.
    """

    share: Measure
    cues: Sequence[Cue]
    same: dict[str, str]
    rare: Sequence[str]
    pairs: int
    prompts: int
    penalty: float

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)


def explain(margin: Floats, difference: Floats, names: Sequence[str], prompts: Sequence[str]) -> Explained:
    """Regress margins on cue differences.

    The penalty is chosen by generalised cross-validation (Golub, Heath and Wahba 1979), within each fold by itself.
    The share's interval treats it as a ratio of sums over prompts; coefficients have the sandwich covariance clustered
    by prompt.

    Args:
        margin: Of each pair, not all 0, [E].
        difference: Cues of its chosen response minus those of its rejected one, [E, C], finite.
        names: Of the cues, C.
        prompts: Of the pairs, E; pairs of one prompt are one cluster, and in one fold.
    """
    numbers: dict[str, int] = {}
    cluster = np.array([numbers.setdefault(prompt, len(numbers)) for prompt in prompts], np.int64)
    count = len(numbers)
    kept, same, rare = _told_apart(difference, names)
    y = margin / np.sqrt((margin**2).mean())
    x = difference[:, kept] / np.sqrt((difference[:, kept] ** 2).mean(0))
    off = y - _predicted(x, y, cluster, count)
    weight = np.maximum(y**2, 1e-12)
    share = mean_interval((y**2 - off**2) / weight, weight, cluster.tolist())
    coefficient, error, penalty = _fitted(x, y, cluster, count)
    reach = NormalDist().inv_cdf(1 - 0.025 / max(1, len(kept)))
    half = None if error is None else t_quantile(count - 1) * error
    made = [
        Cue(
            name=names[column],
            coefficient=float(coefficient[c]),
            low=None if half is None else float(coefficient[c] - half[c]),
            high=None if half is None else float(coefficient[c] + half[c]),
            clear=error is not None and bool(abs(coefficient[c]) > reach * error[c]),
            alone=float((x[:, c] @ y) ** 2 / ((x[:, c] @ x[:, c]) * (y @ y))),
        )
        for c, column in enumerate(kept)
    ]
    made.sort(key=lambda cue: -abs(cue.coefficient))
    return Explained(share, made, same, rare, len(margin), count, penalty)


def _told_apart(difference: Floats, names: Sequence[str]) -> tuple[list[int], dict[str, str], list[str]]:
    """Return the columns to fit, those that say the same as one of them, and those that hardly ever differ."""
    norms = np.sqrt((difference**2).sum(0))
    often = (difference != 0).sum(0) >= max(5, RARE * len(difference))
    unit = difference / np.where(norms > 0, norms, 1)
    kept: list[int] = []
    same: dict[str, str] = {}
    for column in np.flatnonzero(often).tolist():
        cosine = np.abs(unit[:, kept].T @ unit[:, column])
        if len(kept) and cosine.max() >= ALIKE:
            same[names[column]] = names[kept[int(cosine.argmax())]]
        else:
            kept.append(column)
    return kept, same, [names[column] for column in np.flatnonzero(~often).tolist()]


def _predicted(x: Floats, y: Floats, cluster: NDArray[np.int64], count: int) -> Floats:
    """Return each pair's margin as predicted from the other folds; 0 where there is one prompt only."""
    predicted = np.zeros(len(y))
    if count < 2:
        return predicted
    fold = (permutation(count, 0, 0) % min(FOLDS, count))[cluster]
    for number in range(min(FOLDS, count)):
        test = fold == number
        coefficient, _ = _ridge(x[~test], y[~test])
        predicted[test] = x[test] @ coefficient
    return predicted


def _fitted(x: Floats, y: Floats, cluster: NDArray[np.int64], count: int) -> tuple[Floats, Floats | None, float]:
    """Return coefficients over all pairs, their standard errors clustered by prompt, and the penalty."""
    coefficient, penalty = _ridge(x, y)
    if count < 2:
        return coefficient, None, penalty
    pull = np.zeros((count, x.shape[1]))
    np.add.at(pull, cluster, x * (y - x @ coefficient)[:, None])
    inner = np.linalg.inv(x.T @ x + penalty * np.eye(x.shape[1]))
    covariance = count / (count - 1) * inner @ (pull.T @ pull) @ inner
    return coefficient, np.sqrt(np.diag(covariance).clip(min=0)), penalty


def _ridge(x: Floats, y: Floats) -> tuple[Floats, float]:
    """Return coefficients and the penalty that generalised cross-validation prefers."""
    left, singular, right = np.linalg.svd(x, full_matrices=False)
    along, rest = left.T @ y, float(y @ y)
    best, chosen = np.inf, 0
    for number, penalty in enumerate(_PENALTIES * len(y)):
        kept = singular**2 / (singular**2 + penalty)
        score = (rest - float((along**2 * kept * (2 - kept)).sum())) / (len(y) - kept.sum()) ** 2
        if score < best:
            best, chosen = score, number
    penalty = float(_PENALTIES[chosen] * len(y))
    return right.T @ (singular / (singular**2 + penalty) * along), penalty
