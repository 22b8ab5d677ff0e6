"""A small logistic classifier whose verdict on a row never saw that row's prompt."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

RIDGE = 1.0
"""Penalty ½·RIDGE·|w|² on weights of features of size 1: a normal prior of variance 1 on each."""

_STEPS, _ENOUGH = 30, 1e-7


def fit(x_NF: Numbers, weight_N: Numbers | None = None) -> Numbers:
    """Return the weights w [F] that maximise Σ u_n · log σ(x_n · w) − ½·RIDGE·|w|².

    Rows are differences winner − loser, so there is no intercept and no label: turning a row round changes its sign and
    its label at once. For labelled rows, multiply each by ±1. By Newton's steps, halved until the sum rises.

    Args:
        x_NF: Features of size about 1.
        weight_N: u ≥ 0; None is 1.
    """
    u = np.ones(len(x_NF)) if weight_N is None else weight_N
    w = np.zeros(x_NF.shape[1])
    value = _value(x_NF @ w, u, w)
    for _ in range(_STEPS):
        wrong = u * _sigmoid(-(x_NF @ w))
        gradient = x_NF.T @ wrong - RIDGE * w
        curvature = wrong * _sigmoid(x_NF @ w)
        hessian = (x_NF * curvature[:, None]).T @ x_NF + RIDGE * np.eye(len(w))
        step = np.linalg.solve(hessian, gradient)
        after = _value(x_NF @ (w + step), u, w + step)
        while after < value and np.abs(step).max() > _ENOUGH:
            step /= 2
            after = _value(x_NF @ (w + step), u, w + step)
        w, value = w + step, after
        if np.abs(step).max(initial=0) <= _ENOUGH:
            break
    return w


def unseen_scores(
    x_NF: Numbers, fold_N: NDArray[np.int64], weight_N: Numbers | None = None, *, least: float = 0.0
) -> Numbers:
    """Return each row's score x·w by weights that were fitted without its fold, [N]; NaN where there is one fold.

    Features are divided by their size (root mean square) in the rows fitted to.

    Args:
        x_NF: Features.
        fold_N: Fold of each row.
        weight_N: As in `fit`.
        least: Leave out features for which |Σ x| / √(Σ x²) over the rows fitted to, normal with variance 1 if the
            feature says nothing, is smaller: of hundreds that say nothing each adds a little noise.
    """
    score = np.full(len(x_NF), np.nan)
    for fold in np.unique(fold_N):
        held = fold_N == fold
        if held.all():
            break
        seen = x_NF[~held]
        scale = size_of(seen)
        kept = np.flatnonzero(np.abs(seen.sum(0)) >= least * scale * np.sqrt(len(seen)))
        w = fit(seen[:, kept] / scale[kept], None if weight_N is None else weight_N[~held])
        score[held] = x_NF[held][:, kept] @ (w / scale[kept])
    return score


def size_of(x_NF: Numbers) -> Numbers:
    """Return each feature's root mean square, [F]; 1 where it is 0."""
    size = np.sqrt((x_NF**2).mean(0))
    return np.where(size > 0, size, 1.0)


def hits(score_N: Numbers) -> Numbers:
    """Return 1 where a score is right (above 0), 0 where it is wrong, ½ where it says nothing, [N]."""
    return np.where(score_N == 0, 0.5, (score_N > 0).astype(np.float64))


def _sigmoid(z: Numbers) -> Numbers:
    return 1 / (1 + np.exp(-np.clip(z, -500, 500)))


def _value(z: Numbers, u: Numbers, w: Numbers) -> float:
    return float(-(u * np.logaddexp(0, -z)).sum() - RIDGE / 2 * (w @ w))
