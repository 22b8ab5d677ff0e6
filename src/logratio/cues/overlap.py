"""Overlap: how much of a response stands in its prompt, and how much of the prompt in the response."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .chars import Numbers
from .words import Hashes, Words, joined


def overlap_cues(words: Words, prompts: Words, prompt_N: NDArray[np.int64]) -> Mapping[str, Numbers]:
    """Return shares of different words in [0, 1], each [N]; 0 without any.

    Args:
        words: Of N texts.
        prompts: Of their prompts, each once.
        prompt_N: Prompt of each text.
    """
    owner, hashes = words.different
    prompt, known = prompts.different
    shared = _among(joined(prompt_N[owner], hashes), joined(prompt, known))
    shared_N = np.bincount(owner[shared], minlength=words.texts)
    own_N = np.bincount(owner, minlength=words.texts)
    asked_N = np.bincount(prompt, minlength=prompts.texts)[prompt_N]
    return {
        "words from the prompt (share)": shared_N / np.maximum(own_N, 1),
        "prompt's words used (share)": shared_N / np.maximum(asked_N, 1),
    }


def _among(keys: Hashes, known: Hashes) -> NDArray[np.bool_]:
    """Return which keys are known; `distinct` leaves what it returns in the order of these numbers."""
    if not len(known):
        return np.zeros(len(keys), np.bool_)
    place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    found: NDArray[np.bool_] = known[place] == keys
    return found
