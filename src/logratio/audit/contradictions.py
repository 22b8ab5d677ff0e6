"""Pairs that were judged both ways, and responses that were called good and bad."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..findings import Drawing, Example, Finding, Level
from .judged import percent, several
from .keys import grouped
from .rows import Rows, cut

Ids = NDArray[Any]

LOOK = 0.01
"""Share of judgements in contradictions from which somebody should look."""

EXAMPLES = 6


@dataclass(frozen=True)
class Judged:
    """Judgements of the same two responses to the same prompt by the same criterion, together.

    Attributes:
        pair_E: Number of the pair that each judgement is about, int64 [E].
        forward_E: Whether the response with the smaller number won, bool [E]; of a tie, False.
        forward_P, backward_P, tied_P: Judgements of each of P pairs, by what was said, int64 [P].
        people_P: Different named annotators who called one of the two better, int64 [P].
    """

    pair_E: NDArray[np.int64]
    forward_E: NDArray[np.bool_]
    forward_P: NDArray[np.int64]
    backward_P: NDArray[np.int64]
    tied_P: NDArray[np.int64]
    people_P: NDArray[np.int64]

    @property
    def contradicted_P(self) -> NDArray[np.bool_]:
        """Whether a pair was judged both ways, bool [P]."""
        return (self.forward_P > 0) & (self.backward_P > 0)

    @property
    def explained_P(self) -> NDArray[np.bool_]:
        """Whether a pair was judged both ways by several named annotators, whose disagreement is information."""
        return self.contradicted_P & (self.people_P >= 2)


def judged(rows: Rows, form_T: Ids) -> Judged:
    """Return the judgements by pair; texts that differ in case and white space at most are one."""
    one, other = form_T[rows.winner_E], form_T[rows.loser_E]
    pair = grouped(form_T[rows.prompt_E], np.minimum(one, other), np.maximum(one, other), rows.criterion_E)
    forward = (one < other) & ~rows.tie_E
    count = int(pair.max(initial=-1)) + 1
    forwards, backwards, ties = (
        np.bincount(pair[kind], minlength=count) for kind in (forward, ~forward & ~rows.tie_E, rows.tie_E)
    )
    named = np.flatnonzero((rows.annotator_E >= 0) & ~rows.tie_E)
    first = np.unique(grouped(pair[named], rows.annotator_E[named]), return_index=True)[1]
    people = np.bincount(pair[named[first]], minlength=count)
    return Judged(pair, forward, forwards, backwards, ties, people)


def contradictions(rows: Rows, form_T: Ids) -> Finding:
    """Count pairs that were judged both ways, and responses that were called both good and bad.

    Pairs that several named annotators judged are counted, and raise no alarm: people disagree.

    Args:
        rows: E judged pairs, L judged responses.
        form_T: First text that differs from each in case and white space at most.
    """
    pairs = judged(rows, form_T)
    single = grouped(form_T[rows.prompt_L], form_T[rows.response_L])
    both_L = _both(single, rows.label_L)
    contradicted_E = pairs.contradicted_P[pairs.pair_E] & ~rows.tie_E
    pair_count, label_count = int(pairs.contradicted_P.sum()), len(np.unique(single[both_L]))
    involved, total = int(contradicted_E.sum() + both_L.sum()), len(rows.row_E) + len(rows.row_L)
    share = involved / max(1, total)
    repeats = pairs.forward_P + pairs.backward_P
    figures = {
        "judgements": total,
        "judged_more_than_once": int((repeats > 1).sum()),
        "contradicted_pairs": pair_count,
        "contradicted_labels": label_count,
        "judgements_in_contradictions": involved,
        "share": share,
        "by_one_annotator": _by_one(rows, pairs),
        "also_tied": int(((pairs.tied_P > 0) & (repeats > 0)).sum()),
    }
    if not pair_count and not label_count:
        again = int((repeats > 1).sum())
        said = f"None of {several(total, 'judgement')} is contradicted by another"
        said += f"; {several(again, 'pair was', 'pairs were')} judged more than once."
        return Finding("contradictions", "fine", said, figures=figures)
    unexplained = int((contradicted_E & ~pairs.explained_P[pairs.pair_E]).sum() + both_L.sum())
    level: Level = "look" if unexplained >= LOOK * total else "note"
    parts = [
        f"{pair_count:,} of {several(int((repeats > 1).sum()), 'pair')} judged more than once "
        f"{'was' if pair_count == 1 else 'were'} judged both ways"
    ]
    if label_count:
        noun = "response to one prompt is", "responses to one prompt are"
        parts.append(f"{several(label_count, *noun)} labelled both good and bad")
    return Finding(
        "contradictions",
        level,
        f"{'; '.join(parts)}: {several(involved, 'judgement')} ({percent(share)}).",
        _remedy(bool(pairs.explained_P.any()), unexplained > 0),
        figures,
        Drawing(
            "bars",
            "Pairs judged more than once",
            "judgements for the side with fewer",
            "pairs",
            ["0", "1", "2", "3 and more"],
            {"pairs": _minorities(pairs, repeats > 1)},
        ),
        [*_pair_examples(rows, pairs), *_label_examples(rows, single, both_L)],
    )


def _remedy(explained: bool, unexplained: bool) -> str:
    fix = (
        "--fix keeps the side with more judgements and leaves out both where they are equally many; if several people "
        "judged, name them in a column `annotator`."
    )
    if not explained:
        return fix
    if not unexplained:
        return "People disagree; keep these rows, and read the estimate of label noise."
    return f"Where several named people judged, keep the rows, and read the estimate of label noise. Elsewhere {fix}"


def minority(rows: Rows, form_T: Ids) -> NDArray[np.bool_]:
    """Return the judgements that a repair leaves out, bool [E]: those on the side with fewer, or on both if equal.

    Pairs that several known annotators judged are left as they are: their disagreement is information.
    """
    pairs = judged(rows, form_T)
    for_it = np.where(pairs.forward_E, pairs.forward_P[pairs.pair_E], pairs.backward_P[pairs.pair_E])
    against = np.where(pairs.forward_E, pairs.backward_P[pairs.pair_E], pairs.forward_P[pairs.pair_E])
    return ~rows.tie_E & (against > 0) & (for_it <= against) & ~pairs.explained_P[pairs.pair_E]


def both_labels(rows: Rows, form_T: Ids) -> NDArray[np.bool_]:
    """Return the labelled responses that are called both good and bad for one prompt, bool [L]."""
    return _both(grouped(form_T[rows.prompt_L], form_T[rows.response_L]), rows.label_L)


def _both(group: Ids, label: NDArray[np.bool_]) -> NDArray[np.bool_]:
    count = int(group.max(initial=-1)) + 1
    good, bad = np.bincount(group[label], minlength=count), np.bincount(group[~label], minlength=count)
    return ((good > 0) & (bad > 0))[group]


def _by_one(rows: Rows, pairs: Judged) -> int:
    """Return how many times one known annotator judged one pair both ways."""
    known = (rows.annotator_E >= 0) & ~rows.tie_E
    group = grouped(pairs.pair_E[known], rows.annotator_E[known])
    return len(np.unique(group[_both(group, pairs.forward_E[known])]))


def _minorities(pairs: Judged, again: NDArray[np.bool_]) -> list[int]:
    fewer = np.minimum(pairs.forward_P, pairs.backward_P)[again]
    return [int((fewer == count).sum()) for count in range(3)] + [int((fewer >= 3).sum())]


def _pair_examples(rows: Rows, pairs: Judged) -> Iterator[Example]:
    for pair in np.flatnonzero(pairs.contradicted_P)[:EXAMPLES]:
        edges = np.flatnonzero((pairs.pair_E == pair) & ~rows.tie_E)
        first = int(edges[0])
        against = int(edges[(pairs.forward_E[edges] != pairs.forward_E[first]).argmax()])
        yield rows.example(first, f"{rows.origin(against)} prefers the other one")


def _label_examples(rows: Rows, group: Ids, both: NDArray[np.bool_]) -> Iterator[Example]:
    for name in np.unique(group[both])[:EXAMPLES]:
        held = np.flatnonzero(group == name)
        good, bad = (int(held[rows.label_L[held] == label][0]) for label in (True, False))
        texts = {"prompt": rows.texts[rows.prompt_L[good]], "response": rows.texts[rows.response_L[good]]}
        yield Example(
            rows.origin_of(int(rows.at_L[good])),
            f"called good here and bad in {rows.origin_of(int(rows.at_L[bad]))}",
            {part: cut(text) for part, text in texts.items()},
        )
