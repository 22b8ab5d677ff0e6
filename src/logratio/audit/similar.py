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
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtraError
from .keys import mixed

Ids = NDArray[Any]
Signatures = NDArray[np.uint32]

WIDTH = 6
"""Bytes of a shingle."""

NEAR = 0.8
"""Similarity from which two texts are nearly the same."""

BANDS, DEEP = 21, 6
"""Bands of a signature, and values of a band."""

_MARGIN = 0.12  # three standard deviations of an estimate from 126 values at 0.8: √(0.8 · 0.2 / 126) · 3 = 0.107
_CHUNK = 1 << 18  # characters whose shingles are computed at once: their numbers stay in a cache of a few MB
_BLOCK = 1 << 14  # pairs of signatures compared at once
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
    first, second = _shingle_set(one), _shingle_set(other)
    shared = len(first) + len(second) - len(np.union1d(first, second))
    return shared / (len(first) + len(second) - shared)


def matches(texts: Sequence[str], others: Sequence[str], signature: Signatures, other: Signatures) -> dict[int, int]:
    """Return text → the first of other texts that is nearly the same; texts without one are left out.

    Args:
        texts: T texts.
        others: U texts, in which a near copy is looked for.
        signature: Those of the texts, uint32 [T, BANDS · DEEP].
        other: Those of the other texts, uint32 [U, BANDS · DEEP].
    """
    found: dict[int, int] = {}
    for at, to in _crossing(signature, other):
        if found.get(at, len(others)) > to and similarity(texts[at], others[to]) >= NEAR:
            found[at] = to
    return found


def _chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    begin, size = 0, 0
    for at, text in enumerate(texts):
        size += len(text)
        if size >= _CHUNK:
            yield texts[begin : at + 1]
            begin, size = at + 1, 0
    if begin < len(texts):
        yield texts[begin:]


@lru_cache(maxsize=4096)
def _shingle_set(text: str) -> NDArray[np.uint64]:
    return np.unique(shingles([text])[0])


def _leaders(texts: Sequence[str], own: Ids, signature: Signatures) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each text's leader and its similarity to it; only texts that are `own` have been compared."""
    leader, closeness = np.arange(len(texts)), np.ones(len(texts))
    for first, second in _candidates(signature):
        one, other = int(leader[own[first]]), int(own[second])
        if leader[other] == other and one != other:
            found = similarity(texts[one], texts[other])
            if found >= NEAR:
                leader[other], closeness[other] = one, found
    return leader, closeness


def _candidates(signature: Signatures) -> list[tuple[int, int]]:
    """Return pairs (i, j), i < j, that share a band and agree in about as many values as near copies do.

    In each band a text is paired with the first that has the same values and with the latest, so that their number
    grows with the texts and not with its square.
    """
    total = max(1, len(signature))
    codes = [np.zeros(0, np.int64)]
    for order, begins in _bands(signature):
        first = order[np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))]
        latest = np.roll(order, 1)
        codes += [(paired * total + order)[~begins] for paired in (first, latest)]
    code = np.unique(np.concatenate(codes))
    one, other = code // total, code % total
    keep = _agreeing(signature, one, signature, other)
    ordered = np.lexsort((one[keep], other[keep]))
    return list(zip(one[keep][ordered].tolist(), other[keep][ordered].tolist(), strict=True))


def _crossing(signature: Signatures, other: Signatures) -> list[tuple[int, int]]:
    """Return pairs (text, other text) that share a band: with the first and the last other text in it."""
    count, total = len(other), len(other) + len(signature)
    codes = [np.zeros(0, np.int64)]
    for order, begins in _bands(np.concatenate([other, signature])):
        place = np.arange(len(order))
        start = np.maximum.accumulate(np.where(begins, place, 0))
        theirs = order < count
        last = np.maximum.accumulate(np.where(theirs, place, -1))
        wanted = ~theirs & (last >= start)  # others stand before texts in each band, since the order is stable
        codes += [order[paired[wanted]] * total + order[wanted] for paired in (start, last)]
    code = np.unique(np.concatenate(codes))
    to, at = code // total, code % total - count
    keep = _agreeing(signature, at, other, to)
    return list(zip(at[keep].tolist(), to[keep].tolist(), strict=True))


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


def _agreeing(signature: Signatures, one: Ids, others: Signatures, other: Ids) -> NDArray[np.bool_]:
    keep = np.zeros(len(one), bool)
    for begin in range(0, len(one), _BLOCK):
        part = slice(begin, begin + (_BLOCK))
        keep[part] = (signature[one[part]] == others[other[part]]).mean(axis=1) >= NEAR - _MARGIN
    return keep
