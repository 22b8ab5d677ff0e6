"""Gradient noise scale: the batch size at which noise and signal of a step's gradient are equally large.

    B = tr Σ / ‖G‖²,   G the mean and Σ the covariance of one group's gradient

A batch of n groups has E‖g_n‖² = ‖G‖² + tr Σ/n, so two sizes tell both apart (McCandlish et al. 2018, arXiv:1812.06162,
appendix A.1). Far below B a step is mostly noise, and twice the batch makes nearly twice the progress a step; far
above, hardly any. The same holds where the smaller batch is drawn from the larger one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from .intervals import NOTHING, Measure, mean_interval, t_quantile


def signal_and_noise(small: float, n_small: int, big: float, n_big: int) -> tuple[float, float]:
    """Return unbiased estimates of ‖G‖² and tr Σ; a single one of either may be negative.

        ‖G‖² ≈ (N·‖g_N‖² − n·‖g_n‖²)/(N − n),   tr Σ ≈ (‖g_n‖² − ‖g_N‖²)/(1/n − 1/N)

    Args:
        small: ‖g_n‖², squared norm of the mean gradient of n groups.
        n_small: n ≥ 1.
        big: ‖g_N‖² of N groups, among which the n may be.
        n_big: N > n.
    """
    signal = (n_big * big - n_small * small) / (n_big - n_small)
    return signal, (small - big) / (1 / n_small - 1 / n_big)


def noise_scale(signal: ArrayLike, noise: ArrayLike) -> Measure:
    """Return B, in groups, from estimates at several steps, with Fieller's interval.

    A ratio of means, not a mean of ratios, since a single step's signal may be near 0 or below. The interval holds
    every B for which mean(noise − B·signal) does not differ from 0 (Fieller 1954). Where the signal itself does not
    differ from 0, it has no upper end, and perhaps no lower one.

    Args:
        signal: Estimates of ‖G‖².
        noise: Estimates of tr Σ at the same steps.

    Returns:
        B; mean None where the signal's mean is not above 0 and B is not known to be finite.
    """
    g, s = np.asarray(signal, np.float64), np.asarray(noise, np.float64)
    n = len(g)
    if n == 0:
        return NOTHING
    mean_g, mean_s = float(g.mean()), float(s.mean())
    scale = max(0.0, mean_s / mean_g) if mean_g > 0 else None
    if n < 2:
        return Measure(scale, None, None, n)
    (vs, cov), (_, vg) = (np.cov(s, g) / n).tolist()
    factor = t_quantile(n - 1) ** 2
    a, b, c = mean_g**2 - factor * vg, mean_s * mean_g - factor * cov, mean_s**2 - factor * vs
    if a > 0 and mean_g > 0:
        half = math.sqrt(max(0.0, b * b - a * c)) / a
        error = None if scale is None else mean_interval(s - scale * g).se
        return Measure(scale, max(0.0, b / a - half), max(0.0, b / a + half), n, error and error / mean_g)
    # The interval is all but what lies between the two roots; where B = 0 is not in it, they are on both sides of 0.
    low = (b - math.sqrt(b * b - a * c)) / a if a < 0 < c and mean_s > 0 else None
    return Measure(scale, low, None, n)
