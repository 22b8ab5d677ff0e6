"""Choose on one half of the prompts, report on the other: a best checkpoint is not judged by what chose it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..maths.counter import stream


def halves(prompt_hash: Iterable[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide groups by prompt: return the positions to select on and those to report on.

    A prompt's side depends on its hash alone, so it is the same in every run and beside any other prompts; about half
    of them fall on each side.

    Args:
        prompt_hash: One integer a group; groups with equal hashes stay together.
    """
    side = np.array([stream("halves", int(value)).random() < 0.5 for value in prompt_hash], np.bool_)
    return np.flatnonzero(side), np.flatnonzero(~side)
