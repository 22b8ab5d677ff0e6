"""Length: in characters, words and lines, as logarithms, so that a difference of two is the log of their ratio."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .chars import Characters, Numbers
from .words import Words


def length_cues(chars: Characters, words: Words) -> Mapping[str, Numbers]:
    """Return log(1 + n) of visible characters, words and lines, and the mean word's length in characters, each [N]."""
    letters = chars.count(chars.letter_P)
    return {
        "length in characters (log)": np.log1p(chars.visible_N),
        "length in words (log)": np.log1p(words.count_N),
        "lines (log)": np.log1p(chars.count(chars.point_P == ord("\n"))),
        "letters per word": letters / np.maximum(words.count_N, 1),
    }
