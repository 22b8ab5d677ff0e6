"""Logistic regression with an L1 penalty on soft labels, for many weightings of the same rows at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import NonFiniteError

Floats = NDArray[np.float64]

GRID = tuple(float(c) for c in np.logspace(-4, 4, 10))
"""Strengths of the data against the penalty among which cross-validation chooses: scikit-learn's, as AlpacaEval's."""

FOLDS = 5

_STEPS, _SWEEPS, _DONE = 200, 60, 1e-9
_SMALLEST = 1e-15  # probabilities are kept from 0 and 1 by this in a held-out loss


def fit(x: Floats, y: Floats, weight: Floats, c: float) -> Floats:
    """Return the coefficients that minimise ‖β‖₁ + c·Σ_i w_i·[log(1 + e^{x_iβ}) − y_i·x_iβ], float64 [B, p].

    By Newton steps on the smooth part, the penalty kept whole in each, halved until the objective falls. All
    coefficients are penalised, an intercept too, as AlpacaEval does.

    Args:
        x: [n, p] features.
        y: [n] soft labels in [0, 1].
        weight: [B, n] weights ≥ 0, one row a regression.
        c: Strength of the data against the penalty, > 0.

    Raises:
        NonFiniteError: A feature or label is NaN or infinite.
    """
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise NonFiniteError("a length or preference is NaN or infinite, so nothing can be controlled for it.")
    products = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)
    beta = np.zeros((len(weight), x.shape[1]))
    open_ = np.arange(len(weight))
    for _ in range(_STEPS):
        own, w = beta[open_], weight[open_]
        p = _sigmoid(own @ x.T)
        slope = c * ((w * (p - y)) @ x)
        curve = (c * ((w * p * (1 - p)) @ products)).reshape(-1, x.shape[1], x.shape[1])
        step = _newton(own, slope, curve) - own
        step *= _halved(own, step, x, y, w, c)[:, None]
        beta[open_] = own + step
        open_ = open_[np.abs(step).max(axis=1) > _DONE]
        if not len(open_):
            break
    return beta


def objective(beta: Floats, x: Floats, y: Floats, weight: Floats, c: float) -> Floats:
    """Return what `fit` minimises, [B]."""
    eta = beta @ x.T
    own: Floats = np.abs(beta).sum(axis=1) + c * (weight * (np.logaddexp(0, eta) - y * eta)).sum(axis=1)
    return own


def cross_validated(x: Floats, y: Floats, folds: NDArray[np.int64], grid: Sequence[float] = GRID) -> float:
    """Return the strength with the least held-out loss, the mean over folds of their mean; of equal ones the least.

    Args:
        x: [n, p] features.
        y: [n] soft labels.
        folds: [n] number of each row's fold; rows of one prompt share it.
        grid: Strengths to choose from.
    """
    kept = np.array([folds != fold for fold in np.unique(folds)], np.float64)
    losses = []
    for c in grid:
        p = np.clip(_sigmoid(fit(x, y, kept, c) @ x.T), _SMALLEST, 1 - _SMALLEST)
        loss = -(y * np.log(p) + (1 - y) * np.log(1 - p))
        out = 1 - kept
        losses.append(float(((out * loss).sum(axis=1) / out.sum(axis=1)).mean()))
    return grid[int(np.argmin(losses))]


def _newton(beta: Floats, slope: Floats, curve: Floats) -> Floats:
    """Return the minimum of the penalty and the quadratic model about β, by cyclic descent."""
    size = beta.shape[1]
    diagonal = np.einsum("bii->bi", curve)
    least = 1e-10 * (1 + diagonal.max(axis=1, keepdims=True))  # rows that say nothing of a coefficient leave it at 0
    diagonal = diagonal + least
    new = beta.copy()
    for _ in range(_SWEEPS):
        before = new.copy()
        for i in range(size):
            pull = slope[:, i] + np.einsum("bj,bj->b", curve[:, i], new - beta) + least[:, 0] * (new - beta)[:, i]
            target = diagonal[:, i] * new[:, i] - pull
            new[:, i] = np.sign(target) * np.maximum(np.abs(target) - 1, 0) / diagonal[:, i]
        if np.abs(new - before).max() < 1e-12:
            break
    return new


def _halved(beta: Floats, step: Floats, x: Floats, y: Floats, weight: Floats, c: float) -> Floats:
    """Return by how much to shorten each step so that the objective does not rise, [B]; 0 where nothing helps."""
    size: Floats = np.minimum(1.0, 4.0 / np.maximum(np.abs(step).max(axis=1), 1e-300))
    before = objective(beta, x, y, weight, c)
    for _ in range(40):
        risen = objective(beta + size[:, None] * step, x, y, weight, c) > before + 1e-12 * (1 + np.abs(before))
        size = np.where(risen, size / 2, size)
        if not risen.any():
            break
    return np.where(risen, 0.0, size)


def _sigmoid(x: Floats) -> Floats:
    p: Floats = (1 + np.tanh(x / 2)) / 2
    return p
