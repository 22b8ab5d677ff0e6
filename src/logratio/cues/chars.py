"""Texts end to end as code points, so that every count is a few array operations over all of them.

Suffixes: N texts, P code points (each text is followed by one that belongs to no kind), S scripts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from .scripts import HAN_END, NAMES, TOP, main_script, script_of

Numbers = NDArray[np.float64]
Bools = NDArray[np.bool_]

NOTHING, SMALL, CAPITAL, MARK, DIGIT, PUNCTUATION, SYMBOL, SPACE, EMOJI, JOINER, TINT, FLAG = range(12)
"""Kinds of code point. TINT is a skin tone; FLAG is half a flag; JOINER glues two into one."""

_GENERAL = {"L": SMALL, "M": MARK, "N": DIGIT, "P": PUNCTUATION, "S": SYMBOL, "Z": SPACE}
_EMOJI = ((0x1F000, 0x1F1E5), (0x1F200, 0x1FAFF), (0x2600, 0x27BF), (0x2B00, 0x2BFF), (0x2300, 0x23FF))
_JOINER, _NON_JOINER = 0x200D, 0x200C


@cache
def kind_table() -> NDArray[np.uint8]:
    """Return the kind of every code point below `TOP`, uint8 [TOP]."""
    names = [unicodedata.category(chr(point)) for point in range(TOP)]
    table = np.array([_GENERAL.get(name[0], NOTHING) for name in names], np.uint8)
    table[[point for point, name in enumerate(names) if name == "Lu"]] = CAPITAL
    table[[ord(space) for space in "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85"]] = SPACE
    for first, last in _EMOJI:
        part = table[first : last + 1]
        part[part == SYMBOL] = EMOJI
    table[0x1F1E6:0x1F200] = FLAG
    table[0x1F3FB:0x1F400] = TINT
    table[[_JOINER, _NON_JOINER]] = JOINER
    return table


@cache
def lower_table() -> NDArray[np.uint32]:
    """Return the lower-case form of every code point below `TOP` that has one of a single point, uint32 [TOP]."""
    lowered = (chr(point).lower() for point in range(TOP))
    return np.array([ord(low) if len(low) == 1 else at for at, low in enumerate(lowered)], np.uint32)


class Characters:
    """Texts as one array of code points.

    Attributes:
        texts: The texts.
        point_P: Code points, a zero after each text.
        begin_N: Where each text begins in P.
        end_N: Where it ends.
        owner_P: Text that holds each point; the zero after a text is its own.
        kind_P: Kind of each point; `NOTHING` for the zeros.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """Lay texts end to end; halves of surrogate pairs are kept as they are."""
        self.texts = texts
        joined = "".join(f"{text}\0" for text in texts)
        self.point_P = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
        size_N = np.fromiter(map(len, texts), np.int64, len(texts))
        self.end_N = np.cumsum(size_N + 1) - 1
        self.begin_N = self.end_N - size_N
        self.owner_P = np.repeat(np.arange(len(texts)), size_N + 1)
        low = kind_table()[np.minimum(self.point_P, TOP - 1)]
        high = np.where(self.point_P < HAN_END, SMALL, NOTHING)
        self.kind_P = np.where(self.point_P < TOP, low, high).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.texts)

    def count(self, at_P: Bools) -> Numbers:
        """Return how many of each text's points are marked, float64 [N]."""
        return np.bincount(self.owner_P[at_P], minlength=len(self)).astype(np.float64)

    def of(self, *kinds: int) -> Bools:
        """Return which points are of these kinds, bool [P]."""
        wanted = np.zeros(FLAG + 1, np.bool_)
        wanted[list(kinds)] = True
        marked: Bools = wanted[self.kind_P]
        return marked

    def among(self, characters: str) -> Bools:
        """Return which points are one of these characters, bool [P]."""
        wanted = np.zeros(0x10000, np.bool_)
        wanted[[ord(character) for character in characters]] = True
        marked: Bools = wanted[np.minimum(self.point_P, 0xFFFF)]
        return marked

    @cached_property
    def letter_P(self) -> Bools:
        """Which points are letters."""
        return self.of(SMALL, CAPITAL)

    @cached_property
    def lower_P(self) -> NDArray[np.uint32]:
        """Points in lower case."""
        return np.where(self.point_P < TOP, lower_table()[np.minimum(self.point_P, TOP - 1)], self.point_P)

    @cached_property
    def script_P(self) -> NDArray[np.uint8]:
        """Number of each point's script, in `scripts.NAMES`; of a point that is no letter it says nothing."""
        return script_of(self.point_P)

    @cached_property
    def visible_N(self) -> Numbers:
        """Characters that a reader sees: a letter with its marks is one, and so is an emoji of several points."""
        seen = ~self.of(NOTHING, MARK, JOINER, TINT)
        glued = np.zeros_like(seen)
        joined = (self.point_P[1:-1] == _JOINER) & (self.kind_P[2:] == EMOJI)
        glued[2:] = joined & self.of(EMOJI, TINT, MARK)[:-2]
        return self.count(seen & ~glued) - self.count(self.kind_P == FLAG) / 2

    @cached_property
    def letters_NS(self) -> NDArray[np.int64]:
        """Letters of each script in each text."""
        cell = self.owner_P[self.letter_P] * len(NAMES) + self.script_P[self.letter_P]
        return np.bincount(cell, minlength=len(self) * len(NAMES)).reshape(len(self), len(NAMES))

    @property
    def main_N(self) -> NDArray[np.int64]:
        """Number of each text's main script; −1 without letters."""
        return main_script(self.letters_NS)
