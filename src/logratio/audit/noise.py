"""Label noise: estimated where pairs were judged more than once, bounded from above where they were not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..findings import Finding, Level
from ..maths.intervals import Measure, mean_interval, share_interval
from .classify import hits, unseen_scores
from .cued import Cued, some
from .judged import Indices, decided, figures, folds, percent
from .lexical import word_counts
from .rows import Rows
from .shortcuts import with_position
from .tournaments import majority, triads

HIGH = 0.15
"""Noise, for certain, above which somebody should look: paid annotators disagree on about 27 % of pairs (Ouyang et al.
2022, arXiv:2203.02155, section 3.4), which is ε = 0.16."""

LOW = 0.05
FEWEST = 30
"""Pairs judged more than once, or rings of three, from which a rate is estimated."""

MEANT = 0.05
"""Share of pairs that must be judged more than once, where judges have no names: fewer are rather copies of rows."""

_SAMPLE = 20_000
_TELLING = 2.0  # standard errors from which a word is taken to say something
_LARGEST = 400  # responses to a prompt whose rings are counted: the count takes their cube

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Repeated:
    """Pairs that were judged more than once.

    Attributes:
        disagree_I: Share of two judgements of the same pair that contradict each other, one value a pair.
        prompt_I: Text of its prompt.
        edge_I: One of its judgements.
    pairs: Different pairs, those judged once included.
    named: Whether those judged more than once have named judges.
    """

    disagree_I: Numbers
    prompt_I: NDArray[np.int32]
    edge_I: Indices
    pairs: int
    named: bool


def noise(rows: Rows, table: Cued) -> Finding:
    """Say how many labels are flipped.

    With pairs judged more than once, each judgement is taken to contradict the pair's own order with probability ε,
    independently: two of them disagree with probability d = 2ε(1 − ε), so ε = (1 − √(1 − 2d)) / 2. Without, what
    a classifier or the order among responses leaves unexplained is an upper bound: it holds the difficulty of the task,
    the randomness of a Bradley–Terry judge and the classifier's own errors as well.
    """
    twice = repeated(rows)
    if len(twice.disagree_I) >= max(FEWEST, 0 if twice.named else MEANT * twice.pairs):
        return _estimate(rows, twice)
    bounds = [bound for bound in (_by_rings(rows), _by_agreement(rows, table)) if bound is not None]
    if not bounds:
        says = "Hardly a pair is judged twice and there are too few pairs to bound the noise of the labels."
        return Finding("noise", "note", says)
    method, bound = min(bounds, key=lambda found: found[1].mean or 0.0)
    level: Level = "fine" if (bound.high or 1.0) < LOW * 2 else "note"
    return Finding(
        "noise",
        level,
        f"At most {percent(bound.mean)} of labels are flipped (upper bound {_range(bound)} by {method}; hardly a pair "
        "is judged twice, so a flipped label and a hard choice look the same).",
        "" if level == "fine" else "Have some 300 pairs judged again by others: that turns the bound into an estimate.",
        figures={
            "method": f"upper bound by {method}",
            "observations": bound.n,
            **figures("noise_at_most_share", bound),
        },
    )


def rate_of(disagreement: float) -> float:
    """Return ε in [0, ½] from the probability d that two judgements disagree: (1 − √(1 − 2d)) / 2."""
    return (1 - math.sqrt(max(0.0, 1 - 2 * disagreement))) / 2


def repeated(rows: Rows) -> Repeated:
    """Return pairs with two judgements or more by different people, or by nobody known.

    Ties are no judgement here. A person's second judgement of the same pair is left out.
    """
    edges = decided(rows)
    low = np.minimum(rows.winner_E, rows.loser_E)[edges].astype(np.int64)
    high = np.maximum(rows.winner_E, rows.loser_E)[edges].astype(np.int64)
    what = np.stack([rows.prompt_E[edges], rows.criterion_E[edges], low, high], axis=1)
    item = np.unique(what, axis=0, return_inverse=True)[1].reshape(-1)
    who = rows.annotator_E[edges].astype(np.int64)
    named = np.flatnonzero(who >= 0)
    first = np.unique(np.stack([item[named], who[named]], axis=1), axis=0, return_index=True)[1]
    kept = np.sort(np.concatenate([named[first], np.flatnonzero(who < 0)]))
    edges, item = edges[kept], item[kept]
    up = rows.winner_E[edges] < rows.loser_E[edges]
    sizes = np.bincount(item)
    wanted = np.flatnonzero(sizes >= 2)
    n, k = sizes[wanted], np.bincount(item, weights=up, minlength=len(sizes))[wanted]
    place = np.searchsorted(item, wanted, sorter=np.argsort(item, kind="stable"))
    edge = edges[np.argsort(item, kind="stable")[place]] if len(wanted) else np.zeros(0, np.int64)
    named_too = bool(len(edge)) and bool((rows.annotator_E[edge] >= 0).all())
    return Repeated(2 * k * (n - k) / (n * (n - 1)), rows.prompt_E[edge], edge, len(sizes), named_too)


def _estimate(rows: Rows, twice: Repeated) -> Finding:
    differ = share_interval(twice.disagree_I, twice.prompt_I)
    rate = _rate(differ)
    level: Level = "fine"
    if (rate.low or 0.0) > LOW:
        level = "look" if (rate.low or 0.0) > HIGH else "note"
    if not twice.named and not differ.mean:
        level = "note"  # nobody ever disagrees: as likely copies of rows as judgements
    worst = np.argsort(-twice.disagree_I, kind="stable")[:3]
    doubt = "" if twice.named else " (no judges are named: where those are copies of rows, this is too low)"
    return Finding(
        "noise",
        level,
        f"{percent(rate.mean)} of labels are flipped ({_range(rate)}), estimated from {len(twice.disagree_I):,} pairs "
        f"judged more than once, of which two judgements disagree {percent(differ.mean)} of the time{doubt}.",
        "" if level == "fine" else _remedy(rate) if differ.mean else _COPIES,
        figures={
            "method": "repeated judgements",
            "pairs": len(twice.disagree_I),
            **figures("noise_share", rate),
            **figures("disagreement_share", differ),
        },
        examples=[
            rows.example(int(twice.edge_I[i]), "Judged more than once, and not alike.")
            for i in worst
            if twice.disagree_I[i] > 0
        ],
    )


_COPIES = "Name the judges in a column `annotator`, or leave copies of rows out with --fix and look again."


def _remedy(rate: Measure) -> str:
    return (
        f"Train with an objective that expects flips (robust_dpo or dpo with label_smoothing {rate.mean:.2f}, ipo), or "
        "merge repeated judgements into one pair with its share of votes."
    )


def _rate(differ: Measure) -> Measure:
    mean, low, high = (None if end is None else rate_of(end) for end in (differ.mean, differ.low, differ.high))
    return Measure(mean, low, high, differ.n)


def _range(measure: Measure) -> str:
    if measure.low is None:
        return "without an interval: one prompt"
    return f"95 % interval {percent(measure.low)} to {percent(measure.high)}"


def _by_agreement(rows: Rows, table: Cued) -> tuple[str, Measure] | None:
    """Return 1 − accuracy on prompts not seen, of cues alone or with common words, whichever errs less."""
    place = np.flatnonzero(np.isin(table.edge_D, some(rows, table.edge_D, _SAMPLE)))
    if len(place) < 2 * FEWEST:
        return None
    edges = table.edge_D[place]
    texts, number = np.unique(np.concatenate([rows.winner_E[edges], rows.loser_E[edges]]), return_inverse=True)
    held = word_counts([rows.texts[text] for text in texts])
    words = held[number[: len(edges)]] - held[number[len(edges) :]]
    cues, fold = with_position(rows, table)[1][place], folds(rows.prompt_E[edges])
    scores = unseen_scores(cues, fold), unseen_scores(np.column_stack([cues, words]), fold, least=_TELLING)
    if np.isnan(scores[0]).any():
        return None
    wrong = min((1 - hits(score) for score in scores), key=np.mean)
    return "cross-validated agreement", share_interval(wrong, rows.prompt_E[edges])


def _by_rings(rows: Rows) -> tuple[str, Measure] | None:
    """Return ε from rings a > b > c > a among responses judged two by two in rows of their own.

    Of three responses with an order, each judgement flipped with probability ε, a ring results with probability
    ε(1 − ε), half of what two judgements of one pair disagree.
    """
    edges = decided(rows)
    alone = np.bincount(rows.at_E, minlength=rows.count)[rows.at_E[edges]] == 1
    edges = edges[alone]
    order = edges[np.argsort(rows.prompt_E[edges], kind="stable")]
    cuts = np.flatnonzero(np.diff(rows.prompt_E[order])) + 1
    share: list[float] = []
    size: list[float] = []
    for own in np.split(order, cuts):
        if len(own) >= 3:
            rings, triples = _rings(rows.winner_E[own], rows.loser_E[own])
            if triples:
                share.append(rings / triples)
                size.append(triples)
    if sum(size) < FEWEST:
        return None
    half = mean_interval(share, size)
    low = None if half.low is None else max(0.0, 2 * half.low)
    high = None if half.high is None else 2 * half.high
    return "intransitive judgements", _rate(Measure(2 * (half.mean or 0.0), low, high, int(sum(size))))


def _rings(winner: NDArray[np.int32], loser: NDArray[np.int32]) -> tuple[float, float]:
    """Return (rings, triples judged in full) of one prompt."""
    names, number = np.unique(np.concatenate([winner, loser]), return_inverse=True)
    if not 3 <= len(names) <= _LARGEST:
        return 0.0, 0.0
    wins = np.zeros((len(names), len(names)))
    np.add.at(wins, (number[: len(winner)], number[len(winner) :]), 1.0)
    rings, triples = triads(majority(wins[None]))
    return float(rings[0]), float(triples[0])
