"""Overlap: how much of a response stands in its prompt, and how much of the prompt in the response."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .chars import Numbers
from .words import Words, joined


def overlap_cues(words: Words, prompts: Words, prompt_N: NDArray[np.int64]) -> Mapping[str, Numbers]:
    """Return shares of different words in [0, 1], each [N]; 0 without any.

    Args:
        words: Of N texts.
        prompts: Of their prompts, each once.
        prompt_N: Prompt of each text.
    """
    owner, hashes = words.different
    prompt, known = prompts.different
    shared = np.isin(joined(prompt_N[owner], hashes), joined(prompt, known))
    shared_N = np.bincount(owner[shared], minlength=words.texts)
    own_N = np.bincount(owner, minlength=words.texts)
    asked_N = np.bincount(prompt, minlength=prompts.texts)[prompt_N]
    return {
        "words from the prompt (share)": shared_N / np.maximum(own_N, 1),
        "prompt's words used (share)": shared_N / np.maximum(asked_N, 1),
    }
