"""Words of all texts as numbers, so that they can be counted and compared without making strings.

In a script written without spaces a character counts as a word; an emoji is one anywhere. Suffix W: words.
"""

from __future__ import annotations

from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from .chars import CAPITAL, DIGIT, EMOJI, FLAG, JOINER, MARK, SMALL, TINT, Characters, Numbers
from .scripts import NAMES, UNSPACED

Hashes = NDArray[np.uint64]

_APOSTROPHES = "'’ʼ"
_LONGEST = 1024  # a position's multiplier repeats after so many
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_STEP = np.uint64(0xBF58476D1CE4E5B9)
_SHIFT = np.uint64(29)


class Words:
    """Words of texts.

    Attributes:
        texts: N.
        count_N: Words of each text, emoji not counted.
        owner_W: Text that holds each word.
        begin_W: Where it begins in P.
        end_W: Where it ends.
        hash_W: Its number: equal for words that are equal but for capitals.
    """

    def __init__(self, chars: Characters) -> None:
        """Find the words of `chars`."""
        base = chars.of(SMALL, CAPITAL, DIGIT, EMOJI, FLAG)
        inside = base | _attached(chars, base)
        first = base & _starts(chars, inside)
        place = np.flatnonzero(inside)
        begins = np.flatnonzero(first[place])
        self.begin_W = place[begins]
        size_W = np.diff(np.append(begins, len(place)))
        self.end_W = place[begins + size_W - 1] + 1
        self.owner_W = chars.owner_P[self.begin_W]
        at = np.arange(len(place)) - np.repeat(begins, size_W)
        term = (chars.lower_P[place].astype(np.uint64) + np.uint64(1)) * _powers()[at % _LONGEST]
        self.hash_W = mixed(np.add.reduceat(term, begins)) if len(begins) else np.zeros(0, np.uint64)
        self.texts = len(chars)
        emoji_W = np.isin(chars.kind_P[self.begin_W], (EMOJI, FLAG))
        self.count_N: Numbers = np.bincount(self.owner_W[~emoji_W], minlength=len(chars)).astype(np.float64)

    @cached_property
    def different(self) -> tuple[NDArray[np.int64], Hashes]:
        """Owners and numbers of each text's different words."""
        return distinct(self.owner_W, self.hash_W)


def _attached(chars: Characters, base: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which points belong to the word before them: marks, joiners, skin tones, apostrophes between letters."""
    apostrophe = chars.among(_APOSTROPHES)
    apostrophe[:-1] &= chars.letter_P[1:]
    apostrophe[1:] &= chars.letter_P[:-1]
    loose = chars.of(MARK, JOINER, TINT) | apostrophe
    last = np.maximum.accumulate(np.where(loose, 0, np.arange(len(loose))))
    return loose & base[last]


def _starts(chars: Characters, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which points may begin a word: after none, or where either neighbour is a word by itself."""
    alone = unspaced()[chars.script_P] & chars.letter_P | chars.of(EMOJI, FLAG)
    last = np.maximum.accumulate(np.where(chars.of(MARK, JOINER, TINT), 0, np.arange(len(alone))))
    starts = np.ones(len(inside), np.bool_)
    starts[1:] = ~inside[:-1] | alone[1:] | alone[last[:-1]]
    starts[1:] &= ~(inside[:-1] & (chars.kind_P[:-1] == JOINER) & (chars.kind_P[1:] == EMOJI))
    return starts


@cache
def unspaced() -> NDArray[np.bool_]:
    """Return which scripts, by number, are written without spaces."""
    return np.array([name in UNSPACED for name in NAMES])


@cache
def _powers() -> Hashes:
    powers: Hashes = np.multiply.accumulate(np.full(_LONGEST, _FACTOR, np.uint64))
    return powers


def mixed(state: Hashes) -> Hashes:
    """Return numbers whose bits all depend on all bits of `state`."""
    state = (state ^ (state >> _SHIFT)) * _STEP
    return state ^ (state >> _SHIFT)


def joined(owner: NDArray[np.int64], hashes: Hashes) -> Hashes:
    """Return one number for (owner, hash), so that words of different texts can lie in one array."""
    return mixed(hashes + (owner.astype(np.uint64) + np.uint64(1)) * _FACTOR)


def distinct(owner: NDArray[np.int64], hashes: Hashes) -> tuple[NDArray[np.int64], Hashes]:
    """Return (owners, hashes) of each owner's different hashes, in ascending order of `joined` of both."""
    first = np.unique(joined(owner, hashes), return_index=True)[1]
    return owner[first], hashes[first]
