"""Advantages from values: temporal differences and their exponential average, and how good the values are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def advantages(reward_R: Array, value_R: Array, length_S: NDArray[np.integer], *, gamma: float, lam: float) -> Array:
    """Generalised advantage estimates of each token of S responses, [R], float64.

        δ_t = r_t + γ·V_{t+1} − V_t        Â_t = Σ_{k ≥ 0} (γλ)^k·δ_{t+k}

    V is 0 after a response's last token, whether it ended by itself or was cut off. λ = 0 gives δ; λ = 1 the rewards
    to come, discounted, less V_t. Schulman et al. 2016 (arXiv:1506.02438), Eq. 16.

    Args:
        reward_R: r_t, one a scored token, responses in order.
        value_R: V_t, the value of the state before token t, [R].
        length_S: Scored tokens of each response, ≥ 0, adding up to R.
        gamma: Discount γ in [0, 1].
        lam: λ in [0, 1].
    """
    own = _rows(length_S)
    reward_SL, value_SL = (_spread(values, own) for values in (reward_R, value_R))
    following_SL = np.concatenate((value_SL[:, 1:], np.zeros((len(value_SL), 1))), axis=1)
    delta_SL = reward_SL + gamma * following_SL - value_SL
    out_SL, sum_S = np.zeros_like(delta_SL), np.zeros(len(delta_SL))
    for t in reversed(range(delta_SL.shape[1])):  # beyond its end a row is 0, and adds nothing
        sum_S = delta_SL[:, t] + gamma * lam * sum_S
        out_SL[:, t] = sum_S
    return np.asarray(out_SL[own])


def explained_variance(returns: Array, values: Array, weight: Array | None = None) -> float:
    """Return 1 − Var[return − value] / Var[return], ≤ 1; 0 for constant returns.

    1 is a perfect critic; 0 one that knows no more than the mean; below 0 it is worse than that.

    Args:
        returns: What values are to predict.
        values: The predictions, the same shape.
        weight: As `whiten` has it.
    """

    def variance(of: Array) -> float:
        return float(np.average((of - np.average(of, weights=weight)) ** 2, weights=weight))

    returns, values = returns.astype(np.float64), values.astype(np.float64)
    spread = variance(returns)
    return 1 - variance(returns - values) / spread if spread > 0 else 0.0


def _rows(length_S: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which places of padded rows hold a token, [S, L]."""
    longest = int(length_S.max(initial=0))
    return np.asarray(np.arange(longest) < np.asarray(length_S)[:, None])


def _spread(value_R: Array, own_SL: NDArray[np.bool_]) -> Array:
    out = np.zeros(own_SL.shape)
    out[own_SL] = value_R
    return out
