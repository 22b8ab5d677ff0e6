"""Advantages: what a judge's scores are measured against before a policy learns from them.

Everything here is plain arithmetic in float64. Where a group has failed judgements, `counted` says which responses
take part; the others have advantage 0.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Normalise = Literal["population", "sample", "none"]
"""Divide by the group's standard deviation, by ÷G or by ÷(G − 1), or leave the scale of the scores."""

SAME = 1e-6
"""Scores of a group that differ by no more than this share of the largest |score| are equal: float32 has 6e-8."""

WHITE = 1e-8
"""Added to the variance before a whitening divides by its root, as in the published implementations of PPO."""


def group_advantages(
    score_K: ArrayLike,
    *,
    normalise: Normalise = "none",
    leave_one_out: bool = False,
    counted_K: ArrayLike | None = None,
    size: float = 0.0,
) -> NDArray[np.float64]:
    """Return what each score of a group lies above the group's mean, [K].

        A_i = r_i − mean(r),   or with the mean of the others r_i − mean(r_j, j ≠ i) = G/(G − 1)·(r_i − mean(r))

    The first is GRPO's (Shao et al. 2024, arXiv:2402.03300), divided there by the standard deviation, whose divisor the
    paper does not state; without the division it is Dr. GRPO's (Liu et al. 2025, arXiv:2503.20783). The second is
    RLOO's (Ahmadian et al. 2024, arXiv:2402.14740). Two unequal scores have ±1 with `population` and ±0.7071 with
    `sample`. Nothing is added to the standard deviation; a group whose scores are equal has 0 (`is_dead`).

    Args:
        score_K: K scores of one prompt's responses.
        normalise: Standard deviation to divide by.
        leave_one_out: Whether a response's own score is left out of what it is measured against.
        counted_K: True where there is a score; None: everywhere.
        size: Of `is_dead`.
    """
    score_K, kept_K = _counted(score_K, counted_K)
    advantage_K = np.zeros(len(score_K))
    if is_dead(score_K, kept_K, size=size):
        return advantage_K
    own = score_K[kept_K]
    above = own - own.mean()
    if leave_one_out:
        above = above * len(own) / (len(own) - 1)
    if normalise != "none":
        above = above / own.std(ddof=1 if normalise == "sample" else 0)
    advantage_K[kept_K] = above
    return advantage_K


def is_dead(score_K: ArrayLike, counted_K: ArrayLike | None = None, *, size: float = 0.0) -> bool:
    """Return whether a group teaches nothing: fewer than two scores, or all of them equal.

    Args:
        score_K: K scores of one prompt's responses, of any scale.
        counted_K: True where there is a score; None: everywhere.
        size: The largest |term| of which scores are differences, whose rounding they carry; the scores' own otherwise.
    """
    score_K, kept_K = _counted(score_K, counted_K)
    own = score_K[kept_K]
    return len(own) < 2 or bool(own.max() - own.min() <= SAME * max(size, np.abs(own).max()))


def whiten(value: ArrayLike, *, weight: ArrayLike | None = None, centre: bool = True) -> NDArray[np.float64]:
    """Return values scaled to variance 1, and shifted to mean 0 unless `centre` is off.

        (x − mean)·(var + 1e-8)^(−½),   with the divisor n;   without centring the mean is added again

    Args:
        value: Values of a whole phase, [N].
        weight: ≥ 0, which values make the mean and the variance; None: all alike. Values of weight 0 are scaled too.
        centre: Whether the mean is taken away; rewards are whitened without (Huang et al. 2024, arXiv:2403.17031).
    """
    value_N = np.asarray(value, np.float64)
    share_N = np.ones_like(value_N) if weight is None else np.asarray(weight, np.float64)
    if not share_N.sum():
        return value_N
    mean = np.average(value_N, weights=share_N)
    scale = 1 / np.sqrt(np.average((value_N - mean) ** 2, weights=share_N) + WHITE)
    white_N: NDArray[np.float64] = (value_N - mean) * scale + (0.0 if centre else mean)
    return white_N


def to_go(value_R: ArrayLike, length_K: ArrayLike) -> NDArray[np.float64]:
    """Return at each token the sum of the values from it to the end of its response, [R].

    Args:
        value_R: One value per scored token, responses end to end.
        length_K: Scored tokens of each response.
    """
    value_R = np.asarray(value_R, np.float64)
    ends_K = np.cumsum(np.asarray(length_K, np.int64))
    parts = [np.cumsum(part[::-1])[::-1] for part in np.split(value_R, ends_K[:-1])]
    return np.concatenate([np.zeros(0), *parts])


def overlong(length_K: ArrayLike, *, start: int, end: int) -> NDArray[np.float64]:
    """Return the soft punishment of long responses, [K]: 0 up to `start` tokens, −1 from `end` on, linear between.

    Yu et al. 2025 (DAPO, arXiv:2503.14476), Eq. 13: start = L_max − L_cache and end = L_max there.

    Args:
        length_K: Tokens of each response.
        start: ≥ 0.
        end: > start.
    """
    excess_K: NDArray[np.float64] = (np.asarray(length_K, np.float64) - start) / (end - start)
    return -excess_K.clip(0.0, 1.0)


def _counted(score_K: ArrayLike, counted_K: ArrayLike | None) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    score_K = np.asarray(score_K, np.float64)
    return score_K, np.isfinite(score_K) & (True if counted_K is None else np.asarray(counted_K, np.bool_))
