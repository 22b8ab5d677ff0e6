"""All cues of all texts, in one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .chars import Characters, Numbers
from .layout import layout_cues
from .length import length_cues
from .marks import mark_cues
from .opening import first_words, opening_cues
from .overlap import overlap_cues
from .refusals import refusal_cues
from .repetition import repetition_cues
from .words import Words

_BATCH = 1 << 19  # characters handled at once, prompts included: their arrays fit into a few tens of megabytes


def table(texts: Sequence[str], prompts: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return the named cues of texts.

    Counts are given as log(1 + n), shares lie in [0, 1], and what is there or not is 1 or 0. The first words that
    become cues are those that are common among these texts, so two calls may differ in the last names.

    Args:
        texts: N responses.
        prompts: N prompts, "" where there is none. Equal ones next to each other are handled once.

    Returns:
        C names, and float64 [N, C], finite.

    Raises:
        ValueError: There are not as many prompts as texts.
    """
    if len(texts) != len(prompts):
        raise ValueError(f"{len(texts)} texts need as many prompts, and there are {len(prompts)}")
    parts: list[Mapping[str, Numbers]] = []
    first: list[str] = []
    for low, high in _batches(texts, prompts):
        chars = Characters(texts[low:high])
        words = Words(chars)
        parts.append(_cues(chars, words, prompts[low:high]))
        first += first_words(chars, words)
    columns: dict[str, Numbers] = {}
    if parts:
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        columns.update(opening_cues(first))
    return tuple(columns), np.stack(list(columns.values()), axis=1) if columns else np.zeros((0, 0))


def _cues(chars: Characters, words: Words, prompts: Sequence[str]) -> Mapping[str, Numbers]:
    place: dict[str, int] = {}
    prompt_N = np.array([place.setdefault(prompt, len(place)) for prompt in prompts], np.int64)
    asked = Words(Characters(list(place)))
    return {
        **length_cues(chars, words),
        **layout_cues(chars.texts),
        **mark_cues(chars),
        **refusal_cues(chars),
        **overlap_cues(words, asked, prompt_N),
        **repetition_cues(words),
    }


def _batches(texts: Sequence[str], prompts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield ranges of texts of about `_BATCH` characters, each of at least one text."""
    low = size = 0
    for at, (text, prompt) in enumerate(zip(texts, prompts, strict=True), 1):
        new = at - 1 == low or prompt != prompts[at - 2]
        size += len(text) + len(prompt) * new
        if size >= _BATCH or at == len(texts):
            yield low, at
            low, size = at, 0
