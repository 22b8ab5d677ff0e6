"""Templates: beginnings and ends that many different responses share, and whether they tell winners apart."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..findings import Example, Figure, Finding
from ..maths.intervals import Measure, share_interval
from ..report.text import visible
from .judged import Indices, certain_end, decided, percent, spread
from .rows import Rows

REACH = 16
"""Characters by which a beginning or end is recognised."""

OFTEN = 0.05
"""Share of different responses that must share one for it to be told."""

FEWEST = 20
FAR = 0.20
"""Certain distance from ½ of its share of wins at which somebody should look."""

_SHOWN = 5
_LONGEST = 120


@dataclass(frozen=True)
class Template:
    """A beginning or end.

    Attributes:
        text: What the responses share.
        where: "begin" or "end".
        share: Share of different responses that hold it.
        wins: How often it wins where one response of a pair holds it.
        certain: How far that is from ½ for certain; signed.
        edge: Such a pair; −1 without one.
    """

    text: str
    where: str
    share: float
    wins: Measure
    certain: float
    edge: int

    def __str__(self) -> str:
        wins = f", which win {spread(self.wins)} against those that do not" if self.wins.n >= FEWEST else ""
        return f'{percent(self.share)} {self.where} with "{visible(self.text)}"{wins}'


def templates(rows: Rows) -> Finding:
    """Say which beginnings and ends at least 5 % of the different responses share."""
    used = np.unique(rows.text_S)
    edges = decided(rows)
    found: list[Template] = []
    for where in ("begin", "end"):
        keys = {int(text): _key(rows.texts[text], where) for text in used}
        counts = Counter(key for key in keys.values() if key)
        common = [key for key, count in counts.most_common(_SHOWN) if count >= max(FEWEST, OFTEN * len(used))]
        for key in common:
            held = np.zeros(len(rows.texts), np.bool_)
            held[[text for text, own in keys.items() if own == key]] = True
            found.append(_template(rows, edges, held, where, counts[key] / len(used), 2 * _SHOWN))
    if not found:
        says = f"No beginning or end of {REACH} characters is shared by {percent(OFTEN)} of {len(used):,} responses."
        return Finding("templates", "fine", says)
    telling = [one for one in found if abs(one.certain) > FAR]
    shown = telling or found
    return Finding(
        "templates",
        "look" if telling else "note",
        f"Of {len(used):,} different responses, {'; '.join(map(str, shown[:3]))}.",
        _REMEDY if telling else "",
        figures=_figures(found),
        examples=_examples(rows, shown),
    )


_REMEDY = "Such a phrase decides, whatever else is said: take it out of the responses, or balance the pairs on it."


def _key(text: str, where: str) -> str:
    text = text.strip()
    if len(text) <= REACH:
        return ""
    return text[:REACH] if where == "begin" else text[-REACH:]


def _template(
    rows: Rows, edges: Indices, held: NDArray[np.bool_], where: str, share: float, looked_at: int
) -> Template:
    won, lost = held[rows.winner_E[edges]], held[rows.loser_E[edges]]
    one = np.flatnonzero(won != lost)
    prompt, value = rows.prompt_E[edges[one]], won[one].astype(np.float64)
    texts = [rows.texts[text].strip() for text in np.flatnonzero(held)]
    return Template(
        text=_shared(texts, where),
        where=where,
        share=share,
        wins=share_interval(value, prompt),
        certain=certain_end(value, prompt, looked_at) if len(one) >= FEWEST else 0.0,
        edge=int(edges[one[0]]) if len(one) else -1,
    )


def _shared(texts: Sequence[str], where: str) -> str:
    """Return all that the texts have in common at that side, cut where it is long."""
    if where == "begin":
        return os.path.commonprefix(list(texts))[:_LONGEST]
    return os.path.commonprefix([text[::-1] for text in texts])[:_LONGEST][::-1]


def _figures(found: Sequence[Template]) -> dict[str, Figure]:
    made: dict[str, Figure] = {}
    for one in found:
        made[f'{one.where}s with "{visible(one.text)}"_share'] = one.share
        made[f'{one.where}s with "{visible(one.text)}": wins_share'] = one.wins.mean
    return made


def _examples(rows: Rows, shown: Sequence[Template]) -> list[Example]:
    return [
        rows.example(one.edge, f'One response {one.where}s with "{visible(one.text)}", the other does not.')
        for one in shown[:3]
        if one.edge >= 0
    ]
