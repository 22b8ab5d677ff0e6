"""Texts that are alike: the same but for case and white space, or sharing most of their shingles.

A shingle is six consecutive bytes of UTF-8: six Latin letters, three Arabic or Cyrillic ones, two Chinese characters.
Similarity is the share of shingles that two texts have in common, |A ∩ B| / |A ∪ B| (Jaccard). Candidates come from
MinHash signatures in bands (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, ch. 3); each is
then confirmed by counting, so nothing that is reported rests on an estimate. A pair of similarity 0.8 is missed with
probability (1 − 0.8⁶)²¹ < 0.002.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtraError
from .keys import mixed

Ids = NDArray[Any]
Signatures = NDArray[np.uint32]
Codes = NDArray[np.int64]

WIDTH = 6
"""Bytes of a shingle."""

NEAR = 0.8
"""Similarity from which two texts are nearly the same."""

BANDS, DEEP = 21, 6
"""Bands of a signature, and values of a band."""

_MARGIN = 0.12  # three standard deviations of an estimate from 126 values at 0.8: √(0.8 · 0.2 / 126) · 3 = 0.107
_CHUNK = 1 << 18  # characters whose shingles are computed at once: their numbers stay in a cache of a few MB
_BLOCK = 1 << 14  # pairs of signatures compared at once
_TRIES = 8  # candidates of a text, the likeliest first, that are counted out
_SEED = 1


def normal(text: str) -> str:
    """Return a text without what makes no difference here: case, and the width of white space."""
    return " ".join(text.casefold().split())


@dataclass(frozen=True)
class Alike:
    """Which of T texts are the same or nearly the same.

    Attributes:
        form_T: First text that differs from this one in case and white space at most, int64 [T].
        leader_T: First text of the group of near copies that this one is in, int64 [T]; itself where there is none.
            Each text of a group is at least `NEAR` to its leader.
        similarity_T: Similarity to the leader, float64 [T]; 1 of a leader.
        signature_T: MinHash signatures, uint32 [T, BANDS · DEEP]; those of texts that share a form are equal.
        texts: The texts.
    """

    form_T: NDArray[np.int64]
    leader_T: NDArray[np.int64]
    similarity_T: NDArray[np.float64]
    signature_T: Signatures
    texts: Sequence[str]


def alike(texts: Sequence[str], form_T: Ids | None = None) -> Alike:
    """Find the texts that are the same or nearly the same.

    Args:
        texts: T texts.
        form_T: Their `forms`, where they are known already.

    Raises:
        MissingExtraError: The extra `audit`, which brings MinHash, is not installed.
    """
    form = forms(texts) if form_T is None else form_T
    own = np.unique(form)
    signature = np.zeros((len(texts), BANDS * DEEP), np.uint32)
    signature[own] = signatures([texts[at] for at in own])
    leader, similarity = _leaders(texts, own, signature[own])
    return Alike(form, leader[form], similarity[form], signature[form], texts)


def forms(texts: Sequence[str]) -> NDArray[np.int64]:
    """Return for each text the first that differs from it in case and white space at most, int64 [T]."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(normal(text), at) for at, text in enumerate(texts)], np.int64)


def signatures(texts: Sequence[str]) -> Signatures:
    """Return MinHash signatures, uint32 [T, BANDS · DEEP].

    Raises:
        MissingExtraError: The extra `audit` is not installed.
    """
    try:
        from rensa import RMinHash
    except ImportError as error:
        raise MissingExtraError("finding near copies of texts", "audit") from error
    found = [np.zeros((0, BANDS * DEEP), np.uint32)]
    for chunk in _chunks(texts):
        shingle, start = shingles(chunk)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(mixed(shingle), start, BANDS * DEEP, _SEED)
        found.append(np.array(matrix.to_rows(), np.uint32))
    return np.concatenate(found)


def shingles(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the shingles of texts one after another, as 48-bit numbers, and where each text's begin, uint64 [T + 1].

    A text shorter than a shingle is one shingle, filled with zeros.
    """
    bodies = [normal(text).encode("utf-8", "surrogatepass").ljust(WIDTH, b"\0") for text in texts]
    byte = np.frombuffer(b"".join(bodies), np.uint8)
    size = np.array([len(body) for body in bodies], np.int64)
    inside = np.ones(len(byte), bool)
    inside[(np.cumsum(size)[:, None] - np.arange(1, WIDTH)).ravel()] = False
    window = np.zeros(len(byte), np.uint64)
    for at in range(WIDTH):
        window[: len(byte) - at] |= byte[at:].astype(np.uint64) << np.uint64(8 * at)
    start = np.concatenate([[0], np.cumsum(size - WIDTH + 1)])
    return window[inside], start.astype(np.uint64)


def similarity(one: str, other: str) -> float:
    """Return the share of shingles that two texts have in common, in [0, 1]."""
    return float(similarities([one], [other])[0])


def similarities(texts: Sequence[str], others: Sequence[str]) -> NDArray[np.float64]:
    """Return the share of shingles that each of n texts has in common with its partner, float64 [n], in [0, 1]."""
    found = np.zeros(len(texts))
    begin = 0
    for chunk in _chunks([one + other for one, other in zip(texts, others, strict=True)]):
        part = slice(begin, begin + len(chunk))
        place = {text: at for at, text in enumerate(dict.fromkeys((*texts[part], *others[part])))}
        shingle, start = shingles(list(place))
        sets = [np.unique(shingle[low:high]) for low, high in pairwise(start.tolist())]
        for at in range(part.start, part.stop):
            one, other = sets[place[texts[at]]], sets[place[others[at]]]
            both = np.concatenate([one, other])
            both.sort()
            shared = int(np.count_nonzero(both[1:] == both[:-1]))
            found[at] = shared / (len(both) - shared)
        begin = part.stop
    return found


def matches(texts: Sequence[str], others: Sequence[str], signature: Signatures, other: Signatures) -> dict[int, int]:
    """Return text → the other text that is most nearly the same; texts without one are left out.

    Args:
        texts: T texts.
        others: U texts, in which a near copy is looked for.
        signature: Those of the texts, uint32 [T, BANDS · DEEP].
        other: Those of the other texts, uint32 [U, BANDS · DEEP].
    """
    to, at = _nearest(_crossing(signature, other), other, signature)
    value = similarities([texts[one] for one in at], [others[one] for one in to])
    order = np.argsort(value, kind="stable")
    return {int(at[one]): int(to[one]) for one in order if value[one] >= NEAR}


def _chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    begin, size = 0, 0
    for at, text in enumerate(texts):
        size += len(text)
        if size >= _CHUNK:
            yield texts[begin : at + 1]
            begin, size = at + 1, 0
    if begin < len(texts):
        yield texts[begin:]


def _leaders(texts: Sequence[str], own: Ids, signature: Signatures) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each text's leader and its similarity to it; only texts that are `own` have been compared."""
    leader, closeness = np.arange(len(texts)), np.ones(len(texts))
    first, second = (own[each] for each in _nearest(_candidates(signature), signature, signature))
    value = similarities([texts[one] for one in first], [texts[other] for other in second])
    for one, other, found in zip(first.tolist(), second.tolist(), value.tolist(), strict=True):
        head = int(leader[one])
        if found >= NEAR and leader[other] == other:
            found = found if head == one else similarity(texts[head], texts[other])
            if found >= NEAR:
                leader[other], closeness[other] = head, found
    return leader, closeness


def _candidates(signature: Signatures) -> Codes:
    """Return pairs (i, j), i < j, that share a band, as i · T + j.

    In each band a text is paired with the first that has the same values and with the latest, so that their number
    grows with the texts and not with its square.
    """
    codes = [np.zeros(0, np.int64)]
    for order, begins in _bands(signature):
        first = order[np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))]
        latest = np.roll(order, 1)
        codes += [(paired * len(signature) + order)[~begins] for paired in (first, latest)]
    return np.unique(np.concatenate(codes))


def _crossing(signature: Signatures, other: Signatures) -> Codes:
    """Return pairs (other text i, text j) that share a band, as i · T + j: with its first and last other text."""
    count = len(other)
    codes = [np.zeros(0, np.int64)]
    for order, begins in _bands(np.concatenate([other, signature])):
        place = np.arange(len(order))
        start = np.maximum.accumulate(np.where(begins, place, 0))
        theirs = order < count
        last = np.maximum.accumulate(np.where(theirs, place, -1))
        wanted = ~theirs & (last >= start)  # others stand before texts in each band, since the order is stable
        text = order[wanted] - count
        codes += [order[paired[wanted]] * len(signature) + text for paired in (start, last)]
    return np.unique(np.concatenate(codes))


def _nearest(codes: Codes, one: Signatures, other: Signatures) -> tuple[Codes, Codes]:
    """Return the pairs (i, j) that agree in about as many values as near copies do, the best few of each j in order."""
    first, second = codes // max(1, len(other)), codes % max(1, len(other))
    share = np.zeros(len(codes))
    for begin in range(0, len(codes), _BLOCK):
        part = slice(begin, begin + _BLOCK)
        share[part] = (one[first[part]] == other[second[part]]).mean(axis=1)
    kept = np.flatnonzero(share >= NEAR - _MARGIN)
    kept = kept[np.lexsort((first[kept], -share[kept], second[kept]))]
    begins = np.searchsorted(second[kept], second[kept])
    kept = kept[np.arange(len(kept)) - begins < _TRIES]
    return first[kept], second[kept]


def _bands(signature: Signatures) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Yield for each band the texts ordered by its values, equal ones in their own order, and where a value begins."""
    for band in range(BANDS):
        key = np.zeros(len(signature), np.uint64)
        for column in signature[:, band * DEEP : (band + 1) * DEEP].T:
            key = mixed(key ^ column.astype(np.uint64))
        order = np.argsort(key, kind="stable")
        begins = np.ones(len(order), bool)
        begins[1:] = key[order][1:] != key[order][:-1]
        yield order, begins
