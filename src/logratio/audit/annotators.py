"""Annotators: how far they agree beyond chance, and who agrees less with the others than chance explains."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..findings import Drawing, Example, Finding, Level
from ..maths.intervals import Measure, share_interval
from ..report.text import visible
from .agreement import Judgements, agreement, judgements, krippendorff
from .judged import MEANT, Indices, figures, percent, several, spread
from .rows import Rows

LEVEL = 0.01
"""Chance that a set without any outlying annotator names one (Holm's correction over all annotators tested)."""

FEWEST = 10
"""Judgements that others gave a verdict on too, from which an annotator is tested."""

GAP = 0.10
"""How far below what is expected an annotator must be to matter, whatever the certainty."""

WEAK = 0.2
"""Krippendorff's α below which agreement is hardly better than chance (Landis and Koch 1977 call it slight)."""

_FIRM = 0.4
_PRIOR = 20  # judgements that the whole pool's agreement counts for beside a prompt's own
_POINTS = 500

Numbers = NDArray[np.float64]


def annotators(rows: Rows) -> Finding:
    """Say how far people agree, and name those who agree with the others less than chance explains."""
    own = judgements(rows)
    known = int(np.count_nonzero(np.bincount(own.who_J[own.who_J >= 0]))) if len(own.who_J) else 0
    if len(own.count_I3) < 2:
        return _silent(rows, f"hardly a pair was judged twice{' by different people' if rows.annotators else ''}")
    agree = share_interval(agreement(own.count_I3), own.prompt_I)
    if not own.named and (agree.mean == 1 or len(own.count_I3) < MEANT * own.pairs):
        alike = f"{several(len(own.count_I3), 'pair')} judged more than once may be copies of rows"
        return _silent(rows, alike)
    alpha = krippendorff(own.count_I3, own.prompt_I)
    tested = _tested(own, rows)
    out = tested.outlying
    names = [rows.annotators[who] for who in tested.who_A[out]]
    level = _level(alpha, len(names))
    doubt = "" if own.named else " (not all judges are named: where those are copies of rows, this is too high)"
    if doubt and level == "fine":
        level = "note"
    return Finding(
        "annotators",
        level,
        f"Two judgements of one pair agree {spread(agree)} of the time (Krippendorff's α {_number(alpha)}) over "
        f"{len(own.count_I3):,} pairs judged more than once{doubt}; {_who(names, len(tested.who_A))}.",
        _remedy(names, level),
        figures={
            "annotators": len(rows.annotators),
            "annotators_with_repeats": known,
            "annotators_tested": len(tested.who_A),
            "annotators_outlying": len(names),
            "pairs": len(own.count_I3),
            **figures("agreement_share", agree),
            **figures("krippendorff_alpha", alpha),
        },
        drawing=_drawing(tested),
        examples=[_example(rows, own, tested, int(a)) for a in np.flatnonzero(out)[:5]],
    )


def _silent(rows: Rows, why: str) -> Finding:
    count = len(rows.annotators)
    people = f"{several(count, 'annotator is', 'annotators are')} named, but" if count else "Nobody is named, and"
    says = f"{people} {why}, so nothing is said of agreement."
    return Finding("annotators", "fine", says, figures={"annotators": count})


@dataclass(frozen=True)
class Tested:
    """Annotators who were tested, [A] each: number, judgements, share that agrees, expected share, outlying or not."""

    who_A: Indices
    count_A: Indices
    agree_A: Numbers
    expected_A: Numbers
    outlying: NDArray[np.bool_]


def _tested(own: Judgements, rows: Rows) -> Tested:
    """Compare each annotator with the majority of the others who judged the same pairs.

    Expected is how often the others on the same prompts agree with their others. Below it a binomial tail decides,
    which errs to the side of silence: trials of unequal chances vary less.
    """
    place, agree = with_others(own)
    who, prompt = own.who_J[place], own.prompt_I[own.item_J[place]]
    expected = _expected(who, prompt, agree)
    size = len(rows.annotators)
    count = np.bincount(who, minlength=size)
    right = np.bincount(who, weights=agree, minlength=size)
    hoped = np.bincount(who, weights=expected, minlength=size)
    chosen = np.flatnonzero(count >= FEWEST)
    n, k, e = count[chosen], right[chosen], hoped[chosen] / count[chosen]
    p = np.array([lower_tail(int(x), int(m), float(q)) for x, m, q in zip(k, n, e, strict=True)])
    outlying = holm(p, LEVEL) & (k / n < e - GAP)
    return Tested(chosen, n, k / n, e, outlying)


def with_others(own: Judgements) -> tuple[Indices, Numbers]:
    """Return judgements of named people whose pair's other judgements have one most frequent verdict; and agreement."""
    others = own.count_I3[own.item_J].copy()
    row = np.arange(len(others))
    others[row, own.verdict_J] -= 1
    top = others == others.max(1, keepdims=True)
    place = np.flatnonzero((top.sum(1) == 1) & (own.who_J >= 0))
    return place, top[place, own.verdict_J[place]].astype(np.float64)


def _expected(who: Indices, prompt: NDArray[np.int32], agree: Numbers) -> Numbers:
    """Return how often others agree on the same prompt, drawn towards all prompts' share as by 20 judgements."""
    if not len(agree):
        return agree
    number = np.unique(prompt, return_inverse=True)[1]
    pair = np.unique(number * (int(who.max()) + 1) + who, return_inverse=True)[1]
    n = np.bincount(number)[number] - np.bincount(pair)[pair]
    k = np.bincount(number, weights=agree)[number] - np.bincount(pair, weights=agree)[pair]
    expected: Numbers = (k + _PRIOR * agree.mean()) / (n + _PRIOR)
    return expected


def lower_tail(successes: int, n: int, p: float) -> float:
    """Return P(X ≤ successes) for X ~ Binomial(n, p), exactly."""
    if p <= 0 or p >= 1:
        return 1.0 if p <= 0 or successes >= n else 0.0
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p)
        for k in range(successes + 1)
    ]
    return min(1.0, math.fsum(map(math.exp, logs)))


def holm(p: Numbers, level: float) -> NDArray[np.bool_]:
    """Return which of m hypotheses fall at `level` (Holm 1979): the k-th smallest p against level / (m + 1 − k)."""
    order = np.argsort(p, kind="stable")
    passed = p[order] <= level / np.arange(len(p), 0, -1)
    fallen = np.zeros(len(p), np.bool_)
    fallen[order] = np.logical_and.accumulate(passed)
    return fallen


def _level(alpha: Measure, outlying: int) -> Level:
    if outlying or (alpha.high is not None and alpha.high < WEAK):
        return "look"
    return "fine" if (alpha.mean or 0.0) >= _FIRM else "note"


def _number(measure: Measure) -> str:
    if measure.mean is None or measure.low is None or measure.high is None:
        return "unknown" if measure.mean is None else f"{measure.mean:.2f}"
    return f"{measure.mean:.2f} [{measure.low:.2f}, {measure.high:.2f}]"


def _who(names: list[str], tested: int) -> str:
    if not tested:
        return "no annotator has enough of them to be tested"
    if not names:
        return f"none of {several(tested, 'annotator')} tested stands out"
    listed = ", ".join(map(visible, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return (
        f"{len(names)} of {several(tested, 'annotator')} tested {'agrees' if len(names) == 1 else 'agree'} less with "
        f"the others than chance explains ({listed})"
    )


def _remedy(names: list[str], level: Level) -> str:
    if names:
        return "Read some of their judgements; leave out, or weigh less, those who did not judge what was asked."
    if level == "look":
        return "Check that people were asked the same question, and use an objective that expects noise (robust_dpo)."
    return ""


def _drawing(tested: Tested) -> Drawing | None:
    if not len(tested.who_A):
        return None
    shown = np.argsort(-tested.count_A, kind="stable")[:_POINTS]
    return Drawing(
        "points",
        "How often each annotator agrees with the others",
        "judgements that others gave a verdict on too",
        "share that agrees with most others",
        tested.count_A[shown].astype(float).tolist(),
        {"agrees": tested.agree_A[shown].tolist(), "expected of them": tested.expected_A[shown].tolist()},
        "Somebody far below what is expected at many judgements judged something else, or not at all.",
    )


def _example(rows: Rows, own: Judgements, tested: Tested, a: int) -> Example:
    place, agree = with_others(own)
    at = place[(own.who_J[place] == tested.who_A[a]) & (agree == 0)][0]
    why = (
        f"{visible(rows.annotators[tested.who_A[a]])} judged against most others here, as in "
        f"{percent(1 - float(tested.agree_A[a]))} of {int(tested.count_A[a]):,} pairs; "
        f"{percent(1 - float(tested.expected_A[a]))} is expected."
    )
    return rows.example(int(own.edge_J[at]), why)
