"""Responses that are empty or break off, and pairs whose two responses are nearly the same."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.problems import EMPTY, IDENTICAL
from ..data.tally import counted
from ..findings import Drawing, Example, Finding, Level
from .judged import percent, several
from .rows import Rows
from .similar import Alike, similarities

Ids = NDArray[Any]

SAME = 0.9
"""Similarity from which the two responses of a pair are nearly identical."""

LOOK = 0.01
"""Share of rows from which somebody should look."""

LONG = 200
"""Characters from which a response is expected to end a sentence."""

BROKEN = 0.1
"""Share of unfinished long responses from which somebody should look."""

EXAMPLES = 6

# Scripts that are written without a mark at the end of a sentence: Thai, Lao, Tibetan, Myanmar, Khmer.
_UNMARKED = ((0x0E00, 0x0EFF), (0x0F00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF))
_GOES_ON = set(",;:-–—،؛、，；：")


def empty(rows: Rows) -> Finding:
    """Count rows with an empty response, and responses of marks and white space alone."""
    dropped = [problem for problem in rows.problems if problem.reason == EMPTY]
    hollow = np.array([not any(_says(char) for char in text) for text in rows.texts], bool)
    kept = np.flatnonzero(hollow[rows.text_S])
    read = rows.count + len(rows.problems)
    share = (len(dropped) + len(kept)) / max(1, read)
    figures = {"empty_rows": len(dropped), "responses_without_a_word": len(kept), "share": share}
    if not dropped and not len(kept):
        return Finding("empty_responses", "fine", f"No response in {counted(read)} is empty.", figures=figures)
    examples = [Example(str(problem.origin), "a response is empty", {}) for problem in dropped[:EXAMPLES]]
    examples += [
        rows.example_of(int(rows.at_S[at]), "a response says nothing", response=int(rows.text_S[at]))
        for at in kept[:EXAMPLES]
    ]
    return Finding(
        "empty_responses",
        "look" if share >= LOOK else "note",
        f"{len(dropped):,} of {counted(read)} {'has' if len(dropped) == 1 else 'have'} an empty response, and "
        f"{several(len(kept), 'response holds', 'responses hold')} marks alone.",
        "Training leaves rows with an empty response out, and so does --fix; a model that answered nothing is often a "
        "fault of how its answers were collected.",
        figures,
        examples=examples[:EXAMPLES],
    )


def truncated(rows: Rows) -> Finding:
    """Count long responses that end within a sentence: with a letter, a digit or a mark that goes on.

    Scripts without a mark at the end of a sentence are left out.
    """
    length = np.array([len(text) for text in rows.texts], np.int64)
    broken = np.array([len(text) >= LONG and breaks_off(text) for text in rows.texts], bool)
    long_S = length[rows.text_S] >= LONG
    total, cut = int(long_S.sum()), int(broken[rows.text_S].sum())
    figures: dict[str, float | int | str | None] = {"long_responses": total, "unfinished": cut}
    if not total:
        return Finding("truncated_responses", "fine", f"No response has {LONG} characters.", figures=figures)
    share = cut / total
    sides = {"chosen": rows.winner_E, "rejected": rows.loser_E}
    shares = {side: _share(broken[text], length[text] >= LONG) for side, text in sides.items()}
    figures |= {"unfinished_share": share, **{f"unfinished_share_{side}": value for side, value in shares.items()}}
    both = (
        ""
        if None in shares.values()
        else f" (chosen {_percent(shares, 'chosen')}, rejected {_percent(shares, 'rejected')})"
    )
    said = f"{cut:,} of {total:,} responses of {LONG} characters or more end within a sentence: {percent(share)}{both}."
    level: Level = "look" if share >= BROKEN else "note" if cut else "fine"
    remedy = (
        "A model that learns from responses cut off by a length limit learns not to stop: generate with a higher "
        "limit, or leave these out."
    )
    chosen = np.flatnonzero(broken[rows.text_S])
    examples = [
        rows.example_of(int(rows.at_S[at]), "a response ends within a sentence", response=int(rows.text_S[at]))
        for at in chosen[:EXAMPLES]
    ]
    drawing = _by_length(length[rows.text_S][long_S], broken[rows.text_S][long_S])
    return Finding(
        "truncated_responses",
        level,
        said,
        remedy if level == "look" else "",
        figures,
        drawing if cut else None,
        examples,
    )


def breaks_off(text: str) -> bool:
    """Return whether a text ends within a sentence: with a letter, a digit or a mark that goes on."""
    text = text.rstrip()
    if not text:
        return False
    last = text[-1]
    if any(low <= ord(last) <= high for low, high in _UNMARKED):
        return False
    return last in _GOES_ON or unicodedata.category(last)[0] in "LMN"


def identical_pairs(rows: Rows, alike: Alike | None) -> Finding:
    """Count pairs whose two responses are the same or nearly the same.

    Args:
        rows: E judged pairs.
        alike: Which texts are alike; None: only those that differ in case and white space at most are found.
    """
    dropped = sum(problem.reason == IDENTICAL for problem in rows.problems)
    total = len(rows.row_E) + dropped
    if not total:
        return Finding("identical_pairs", "fine", "There are no pairs to look at.", figures={"pairs": 0})
    value = closeness(rows, alike)
    same, near = np.flatnonzero(value == 1), np.flatnonzero((value >= SAME) & (value < 1))
    share = (dropped + len(same) + len(near)) / total
    figures = {
        "pairs": total,
        "identical_rows": dropped,
        "same_but_for_case_or_space": len(same),
        "nearly_identical": len(near),
        "share": share,
        "threshold": SAME,
    }
    if not share:
        said = f"In none of {several(total, 'pair')} are the responses nearly the same (similarity from {SAME:g})."
        return Finding("identical_pairs", "fine", said, figures=figures)
    return Finding(
        "identical_pairs",
        "look" if share >= LOOK else "note",
        f"Of {several(total, 'pair')} {several(dropped, 'has', 'have')} identical responses, "
        f"{several(len(same), 'differs', 'differ')} in case or white space alone, "
        f"and {several(len(near), 'is', 'are')} nearly identical (similarity from {SAME:g}).",
        "Identical responses are left out by training and by --fix; of nearly identical ones the loss sees a few "
        "tokens alone and tends to lower the likelihood of both: see that the difference is meant.",
        figures,
        Drawing(
            "bars",
            "How alike the two responses of a pair are",
            "similarity from",
            "pairs",
            [f"{edge:.2f}" for edge in np.linspace(0.5, 0.95, 10)],
            {"pairs": np.histogram(value, np.linspace(0.5, 1.0, 11))[0].tolist()},
        ),
        [
            rows.example(int(at), f"its responses are {percent(float(value[at]))} the same")
            for at in [*same[:EXAMPLES], *near[np.argsort(-value[near])][:EXAMPLES]]
        ],
    )


def closeness(rows: Rows, alike: Alike | None) -> NDArray[np.float64]:
    """Return how alike the two responses of each pair are, float64 [E]: exact from 0.8 up, below it an estimate.

    1 stands for texts that differ in case and white space at most. Without `alike` all others are 0.
    """
    if alike is None:
        return np.array([float(_same(rows, edge)) for edge in range(len(rows.row_E))], np.float64)
    one, other = rows.winner_E, rows.loser_E
    value = (alike.signature_T[one] == alike.signature_T[other]).mean(axis=1)
    near = np.flatnonzero(value >= SAME - 0.15)
    found = similarities([rows.texts[text] for text in one[near]], [rows.texts[text] for text in other[near]])
    value[near] = np.minimum(found, 1 - 1e-9)
    value[alike.form_T[one] == alike.form_T[other]] = 1.0
    return np.asarray(value, np.float64)


def _same(rows: Rows, edge: int) -> bool:
    one, other = rows.texts[rows.winner_E[edge]], rows.texts[rows.loser_E[edge]]
    return len(one.split()) == len(other.split()) and one.casefold().split() == other.casefold().split()


def _says(char: str) -> bool:
    return unicodedata.category(char)[0] in "LNS"


def _share(flags: NDArray[np.bool_], among: NDArray[np.bool_]) -> float | None:
    return float(flags.sum() / among.sum()) if among.any() else None


def _percent(shares: dict[str, float | None], side: str) -> str:
    value = shares[side]
    return "–" if value is None else percent(value)


def _by_length(length: Ids, broken: NDArray[np.bool_]) -> Drawing:
    edges = np.unique(np.quantile(length, np.linspace(0, 1, 11)).astype(np.int64))
    place = np.clip(np.searchsorted(edges, length, "right") - 1, 0, max(0, len(edges) - 2))
    count = np.bincount(place, minlength=max(1, len(edges) - 1))
    share = np.bincount(place, weights=broken, minlength=len(count)) / np.maximum(count, 1)
    return Drawing(
        "bars",
        "Unfinished responses by length",
        "characters from",
        "share",
        [f"{edge:,}" for edge in edges[: len(count)]],
        {"unfinished": share.tolist()},
        "A rise at the end means that a length limit cut responses off.",
    )
