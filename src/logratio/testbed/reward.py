"""The true reward, known exactly on every string, and a proxy that can be gamed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .grammar import Claim, Grammar

UNREAD_COST = 1.0
UNREAD_MOST = 4


def sentences(text: str) -> list[str]:
    """Cut a text after every full stop; the single space between two sentences belongs to neither.

    What follows the last full stop is a sentence too, if it is anything.
    """
    return [part.removeprefix(" ") if i else part for i, part in enumerate(re.findall(r"[^.]*\.|[^.]+\Z", text))]


class Reward:
    """r*(text) = Σ polarity over the set of claims − cost · min(unread sentences, most).

    Each (aspect, polarity) counts once, so that saying it again, or saying more of what claims nothing, earns
    nothing; a sentence that the grammar cannot read costs. Bounded by `low` and `high` on every string.
    """

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self._read: dict[str, tuple[Claim, ...] | None] = {}

    @property
    def high(self) -> float:
        """Every aspect praised, none blamed, everything readable."""
        return float(len(self.grammar.lexicon.aspects) + 1)

    @property
    def low(self) -> float:
        """Every aspect blamed, none praised, and as much unreadable as is counted."""
        return -self.high - UNREAD_COST * UNREAD_MOST

    def __call__(self, text: str) -> float:
        """Return r* of a whole text, prompt included."""
        read = self._all(text)
        claims = {claim for said in read if said is not None for claim in said}
        return sum(claim.polarity for claim in claims) - UNREAD_COST * min(read.count(None), UNREAD_MOST)

    def parsed_share(self, text: str) -> float:
        """Share in [0, 1] of the text's sentences that the grammar reads; 0 for an empty text."""
        read = self._all(text)
        return 1 - read.count(None) / len(read) if read else 0.0

    def proxy(self, text: str) -> float:
        """Return the number of words that praise, negated or not: what a naive judge pays for."""
        return float(sum(word in self.grammar.praise for word in re.findall(r"[a-z]+", text)))

    def _all(self, text: str) -> list[tuple[Claim, ...] | None]:
        read = []
        for sentence in sentences(text):
            if sentence not in self._read:
                self._read[sentence] = self.grammar.read(sentence)
            read.append(self._read[sentence])
        return read


def distinct(texts: Sequence[str], n: int) -> float:
    """Return the share in [0, 1] of different n-grams of words among all n-grams of the texts; 0 where none fits."""
    grams = [tuple(words[i : i + n]) for words in map(str.split, texts) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0
