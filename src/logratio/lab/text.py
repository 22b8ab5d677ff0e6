"""The table as text: a cell in a few characters, for terminals and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from .cells import Cell
from .table import Lab, rows_of

EQUAL = 1e-6
"""Margins this close to the true log-odds, in nats, count as equal to them."""

EXACT = 1e-9
"""Distances up to this, in nats, are rounding: minimisers are exact to about 1e-10."""

LEGEND = (
    "Number: distance of the optimum from the reward–KL frontier, min over β of KL(π‖π_ref·e^{r/β}/Z), in nats.",
    "= margins are the true log-odds.  ~ all pairs stay in the order of the true reward.  × some do not.",
    "→ no minimum: log-ratios diverge, and the number is the limit's.  ↓ the loss falls without bound on the way.",
    "? descent ended without a verdict.",
)
SIGNS = {"limit": "→", "unbounded": "↓", "stalled": "?"}


def brief(cell: Cell) -> str:
    """Return a cell as sign, distance and mark, as `→0.09×`."""
    mark = "" if cell.order is None else "~" if cell.order == 1 else "×"
    if cell.calibration is not None and cell.calibration <= EQUAL:
        mark = "="
    return f"{SIGNS.get(cell.kind, '')}{_distance(cell.distance)}{mark}"


def _distance(value: float) -> str:
    if value <= EXACT:
        return "0"
    return "<.01" if value < 0.005 else f"{value:.2f}"


def slope(lab: Lab, label: str) -> str:
    """Return the slope of log error against log n, as `−0.52`."""
    found = lab.convergences.get(label)
    return "" if found is None or found.slope is None else f"{found.slope:.2f}".replace("-", "−")


def header(lab: Lab) -> list[str]:
    """Return the titles of the columns."""
    return ["objective", *(column.title for column in lab.columns), *(["slope"] if lab.convergences else [])]


def lines(lab: Lab) -> list[list[str]]:
    """Return one list of cells a row."""
    return [
        [row.label, *map(brief, cells), *([slope(lab, row.label)] if lab.convergences else [])]
        for row, cells in rows_of(lab)
    ]


def markdown(lab: Lab) -> str:
    """Return the table in Markdown, its legend beneath."""
    titles = header(lab)
    ruler = ["---", *["---:"] * (len(titles) - 1)]
    rows = [_row(cells) for cells in (titles, ruler, *lines(lab))]
    return "\n".join(rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
