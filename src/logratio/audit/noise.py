"""Label noise: estimated where pairs were judged more than once, bounded from above where they were not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..findings import Finding, Level
from ..maths.intervals import Measure, mean_interval, share_interval
from .agreement import once
from .classify import hits, unseen_scores
from .cued import Cued, some
from .judged import MEANT, Indices, decided, figures, folds, percent, spread
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

_ALPHA = 0.025
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
    the randomness of a Bradley–Terry judge and the classifier's own errors as well. Of two such bounds the one with the
    smaller upper end is given: each end holds in 97.5 %, so the smaller of both holds in 95 %.
    """
    twice = repeated(rows)
    if len(twice.disagree_I) >= max(FEWEST, 0 if twice.named else MEANT * twice.pairs):
        return _estimate(rows, twice)
    bounds = [bound for bound in (_by_rings(rows), _by_agreement(rows, table)) if bound is not None]
    if not bounds:
        says = "Hardly a pair is judged twice and there are too few pairs or prompts to bound the noise of the labels."
        return Finding("noise", "note", says)
    method, bound = min(bounds, key=lambda found: _end(found[1]))
    level: Level = "fine" if _end(bound) < LOW * 2 else "note"
    return Finding(
        "noise",
        level,
        f"At most {percent(_end(bound))} of labels are flipped (upper bound by {method}, {spread(bound)}; hardly a "
        "pair is judged twice, so a flipped label and a hard choice look the same).",
        "" if level == "fine" else "Have some 300 pairs judged again by others: that turns the bound into an estimate.",
        figures={
            "method": f"upper bound by {method}",
            "observations": bound.n,
            **figures("noise_at_most_share", bound),
        },
    )


def _end(bound: Measure) -> float:
    return 1.0 if bound.high is None else bound.high


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
    kept = once(item, rows.annotator_E[edges])
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
    return f"95 % interval {percent(measure.low)} to {percent(measure.high)}"


def _by_agreement(rows: Rows, table: Cued) -> tuple[str, Measure] | None:
    """Return 1 − accuracy on prompts not seen, of cues alone or with common words.

    Which of the two counts in a fold is whichever errs less in the other folds, so that the choice favours neither.
    """
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
    wrong_2N = np.stack([1 - hits(score) for score in scores])
    wrong = np.zeros(len(fold))
    for own in np.unique(fold):
        held = fold == own
        wrong[held] = wrong_2N[wrong_2N[:, ~held].mean(1).argmin(), held]
    return "cross-validated agreement", share_interval(wrong, rows.prompt_E[edges])


def _by_rings(rows: Rows) -> tuple[str, Measure] | None:
    """Return ε from rings a > b > c > a among responses judged two by two in rows of their own.

    Of three responses with an order, each judgement flipped with probability ε, a ring results with probability
    ε(1 − ε), half of what two judgements of one pair disagree. Where there is no ring in any of G prompts, the interval
    ends at 1 − α^(1/G), exact for the share of prompts with one, at α = 2.5 % as the upper ends of other intervals.
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
    half = mean_interval(share, size)
    if sum(size) < FEWEST or half.mean is None or half.low is None or half.high is None:  # one prompt tells of no other
        return None
    high = half.high if half.mean else 1 - _ALPHA ** (1 / len(share))
    return "intransitive judgements", _rate(Measure(2 * half.mean, max(0.0, 2 * half.low), 2 * high, int(sum(size))))


def _rings(winner: NDArray[np.int32], loser: NDArray[np.int32]) -> tuple[float, float]:
    """Return (rings, triples judged in full) of one prompt."""
    names, number = np.unique(np.concatenate([winner, loser]), return_inverse=True)
    if not 3 <= len(names) <= _LARGEST:
        return 0.0, 0.0
    wins = np.zeros((len(names), len(names)))
    np.add.at(wins, (number[: len(winner)], number[len(winner) :]), 1.0)
    rings, triples = triads(majority(wins[None]))
    return float(rings[0]), float(triples[0])
