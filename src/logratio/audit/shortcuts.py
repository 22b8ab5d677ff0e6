"""Shortcuts: how well shallow cues predict the winner of a pair, and which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..findings import Drawing, Figure, Finding, Level
from ..maths.intervals import Measure, mean_interval, share_interval
from .classify import fit, hits, size_of, unseen_scores
from .cued import Cued
from .judged import FEWEST, certain_end, figures, folds, percent, several, spread
from .rows import Rows

FAR = 0.60
"""Accuracy of all cues together, for certain, above which somebody should look: some 55 % is usual of honest data."""

ONE_FAR = 0.70
"""A single cue's share of wins where it differs, for certain after looking at all cues, that calls for a look."""

ONE_OFTEN = 0.05
"""Share of pairs in which that cue must differ."""

SHOWN = 8
POSITION = "stood first in the row"

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Cue:
    """One cue by itself.

    Attributes:
        name: What it is.
        differs: Share of pairs in which it differs.
        more: How often the response with more of it wins there.
        certain: How far `more` lies from ½ for certain, after looking at all cues; signed.
        coefficient: Its weight beside all others, per standard deviation of its difference.
        edge: A pair that it is right about most clearly.
    """

    name: str
    differs: float
    more: Measure
    certain: float
    coefficient: float
    edge: int

    @property
    def gain(self) -> float:
        """Accuracy above ½ that following it alone brings."""
        return self.differs * abs((self.more.mean or 0.5) - 0.5)

    @property
    def alone(self) -> bool:
        """Whether it calls for a look by itself."""
        return self.differs >= ONE_OFTEN and abs(self.certain) > ONE_FAR - 0.5

    def __str__(self) -> str:
        return f"{self.name}: more of it wins {percent(self.more.mean)} where it differs ({percent(self.differs)})"


def shortcuts(rows: Rows, table: Cued) -> Finding:
    """Say how well a classifier on named cues predicts winners of prompts that it has not seen, and by which cues."""
    if len(table.edge_D) >= FEWEST:
        return _of_pairs(rows, table)
    if len(table.response_L) >= FEWEST:
        return _of_labels(rows, table)
    held = several(len(table.edge_D), "pair has", "pairs have")
    says = f"{held} a winner, too few to tell whether shallow cues predict it."
    return Finding("shortcuts", "fine", says)


def _of_pairs(rows: Rows, table: Cued) -> Finding:
    names, x = with_position(rows, table)
    score = unseen_scores(x, folds(table.prompt_D))
    if np.isnan(score).any():
        says = "All pairs share one prompt, so nothing can be predicted for prompts not seen."
        return Finding("shortcuts", "note", says)
    accuracy = share_interval(hits(score), table.prompt_D)
    cues = _cues(names, x, table.prompt_D)
    striking = [cue for cue in cues if cue.alone]
    shown = sorted(cues, key=lambda cue: -cue.gain)[:SHOWN]
    level = _level(accuracy, bool(striking))
    listed = "; ".join(map(str, (striking or shown)[:3]))
    return Finding(
        "shortcuts",
        level,
        f"Shallow cues predict the winner of {spread(accuracy)} of pairs whose prompt they have not seen ({listed}).",
        _REMEDY if level == "look" else "",
        figures={
            "pairs": len(x),
            **figures("cues_accuracy", accuracy),
            **_figures(shown + [cue for cue in striking if cue not in shown]),
        },
        drawing=_drawing(shown),
        examples=[
            rows.example(int(table.edge_D[cue.edge]), f"{cue.name}: the difference that usually wins.")
            for cue in (striking or shown)[:3]
        ],
    )


_REMEDY = (
    "Look whether the cues are what you want to reward; if not, balance the pairs on them, drop those that only they "
    "decide, or judge anew. After training, `logratio diagnose` says how much of the margin they explain."
)


def with_position(rows: Rows, table: Cued) -> tuple[tuple[str, ...], Numbers]:
    """Return names and differences winner − loser [D, C], with where it stood in the row if that is known."""
    first = rows.first_E[table.edge_D]
    side = np.where(first < 0, 0.0, np.where(first == rows.winner_E[table.edge_D], 1.0, -1.0))
    x = table.differences()
    if not side.any():
        return table.names, x
    return (*table.names, POSITION), np.column_stack([x, side])


def _cues(names: Sequence[str], x: Numbers, prompt: NDArray[np.int32]) -> list[Cue]:
    """Return each cue that differs in some pairs by itself."""
    size = size_of(x)
    w = fit(x / size)
    found = []
    for c, name in enumerate(names):
        differs = np.flatnonzero(x[:, c])
        if len(differs) < FEWEST:
            continue
        won = (x[differs, c] > 0).astype(np.float64)
        more = share_interval(won, prompt[differs])
        sign = 1.0 if (more.mean or 0.0) >= 0.5 else -1.0
        found.append(
            Cue(
                name=name,
                differs=len(differs) / len(x),
                more=more,
                certain=certain_end(won, prompt[differs], len(names)),
                coefficient=float(w[c]),
                edge=int(np.argmax(sign * x[:, c])),
            )
        )
    return found


def _level(accuracy: Measure, striking: bool) -> Level:
    low = accuracy.low or 0.0
    if low > FAR or striking:
        return "look"
    return "note" if low > 0.5 else "fine"


def _figures(cues: Sequence[Cue]) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    for cue in cues:
        found[f"{cue.name}: more wins_share"] = cue.more.mean
        found[f"{cue.name}: differs_share"] = cue.differs
        found[f"{cue.name}: coefficient"] = cue.coefficient
    return found


def _drawing(cues: Sequence[Cue]) -> Drawing | None:
    if not cues:
        return None
    return Drawing(
        "bars",
        "Cues that tell winners apart",
        "cue",
        "share of pairs that the response with more of it wins",
        [cue.name for cue in cues],
        {"more of it wins": [cue.more.mean for cue in cues], "pairs in which it differs": [c.differs for c in cues]},
        "At one half a cue says nothing; above it more of the cue wins, below it less.",
    )


def _of_labels(rows: Rows, table: Cued) -> Finding:
    """Single judgements: do cues tell good from bad, both counted alike?"""
    good = rows.label_L
    if good.all() or not good.any():
        return Finding("shortcuts", "fine", f"All {len(good):,} judgements are the same, so no cue can predict them.")
    weight = np.where(good, 0.5 / good.sum(), 0.5 / (~good).sum()) * len(good)
    x = table.value_UC[table.response_L]
    x = x - np.average(x, axis=0, weights=weight)
    turned = np.where(good, 1.0, -1.0)[:, None] * x
    score = unseen_scores(turned, folds(rows.prompt_L), weight)
    if np.isnan(score).any():
        return Finding("shortcuts", "note", "All judgements share one prompt: nothing can be predicted for others.")
    accuracy = mean_interval(hits(score), weight, rows.prompt_L)
    w = fit(turned / size_of(x), weight)
    top = np.argsort(-np.abs(w))[:SHOWN]
    level = _level(accuracy, False)
    signs = "; ".join(f"{table.names[c]} {'good' if w[c] > 0 else 'bad'}" for c in top[:3])
    return Finding(
        "shortcuts",
        level,
        f"Shallow cues tell good from bad in {spread(accuracy)} of judgements whose prompt they have not seen, "
        f"both kinds counted alike (most of all: {signs}).",
        _REMEDY if level == "look" else "",
        figures={
            "judgements": len(good),
            **figures("cues_accuracy", accuracy),
            **{f"{table.names[c]}: coefficient": float(w[c]) for c in top},
        },
    )
