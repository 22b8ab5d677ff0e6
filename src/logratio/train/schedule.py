"""The learning rate over a run."""

from __future__ import annotations

import math
from typing import Literal


def rate(
    step: int, steps: int, *, peak: float, schedule: Literal["constant", "linear", "cosine"], warmup: float
) -> float:
    """Return the learning rate of a step.

    Over n = round(warmup·steps) steps it rises as peak·(step+1)/n, so the first is peak/n and never 0; afterwards it
    stays, or falls linearly or as half a cosine towards 0, which it would reach one step past the end.

    Args:
        step: From 0 to steps − 1.
        steps: Steps in the run, ≥ 1.
        peak: Largest rate, > 0.
        schedule: What follows warm-up.
        warmup: Share of the run, in [0, 1).
    """
    rising = round(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    if schedule == "constant":
        return peak
    if schedule == "linear":
        return peak * (1 - done)
    return peak * (1 + math.cos(math.pi * done)) / 2
