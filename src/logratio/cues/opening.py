"""First words: whether a text begins with one of the words with which many of the texts begin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from .chars import Characters, Numbers
from .words import Words

MOST = 12
"""First words that become cues."""

LEAST = 0.02
"""Share of the texts that must begin with a word for it to become a cue."""

_LONGEST = 24  # characters of a word that its name keeps


def first_words(chars: Characters, words: Words) -> list[str]:
    """Return each text's first word in lower case; "" without words."""
    found = [""] * len(chars)
    at_N = np.searchsorted(words.owner_W, np.arange(len(chars)))
    for n in np.flatnonzero(at_N < len(words.owner_W)).tolist():
        word = at_N[n]
        if words.owner_W[word] == n:
            begin = int(words.begin_W[word] - chars.begin_N[n])
            end = int(words.end_W[word] - chars.begin_N[n])
            found[n] = chars.texts[n][begin : min(end, begin + _LONGEST)].lower()
    return found


def opening_cues(first_N: Sequence[str]) -> Mapping[str, Numbers]:
    """Return 0 or 1 for each word that begins at least 2 % of the texts and two of them, at most twelve, each [N]."""
    counts = Counter(first_N)
    least = max(2, LEAST * len(first_N))
    common = [word for word, count in counts.most_common() if word and count >= least][:MOST]
    every = np.array(first_N)
    return {f'begins with "{word}"': (every == word).astype(np.float64) for word in common}
