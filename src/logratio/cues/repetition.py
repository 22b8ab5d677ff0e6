"""Repetition: three words in a row that came before, and how many words differ."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .chars import Numbers
from .words import Words, distinct, mixed

_RUN = 3


def repetition_cues(words: Words) -> Mapping[str, Numbers]:
    """Return shares in [0, 1], each [N]: of runs of three words that came before, and of words that differ.

    The second falls with length in every language, so it is to be read beside length.
    """
    runs = max(0, len(words.hash_W) + 1 - _RUN)
    owner, run = words.owner_W[:runs], words.hash_W[:runs]
    for step in range(1, _RUN):
        run = mixed(run + words.hash_W[step : step + runs])
    whole = owner == words.owner_W[len(words.owner_W) - runs :]
    owner, run = owner[whole], run[whole]
    runs_N = np.bincount(owner, minlength=words.texts)
    new_N = np.bincount(distinct(owner, run)[0], minlength=words.texts)
    words_N = np.bincount(words.owner_W, minlength=words.texts)
    different_N = np.bincount(words.different[0], minlength=words.texts)
    return {
        "repeated runs of words (share)": (runs_N - new_N) / np.maximum(runs_N, 1),
        "different words (share)": different_N / np.maximum(words_N, 1),
    }
