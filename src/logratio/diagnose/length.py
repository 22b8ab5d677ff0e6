"""Length exploitation: the margin follows length, and so do the samples."""

from __future__ import annotations

from ..findings import Finding
from . import limits
from .history import History, Point
from .show import Line, lines, number, percent

NAME = "length"

_REMEDY = (
    "Look at `logratio audit` for who wins when longer; use objective length_dpo, ld_dpo or simpo, or balance "
    "lengths in the data; judge by a length-controlled win rate."
)


def length(history: History) -> Finding | None:
    """Return whether margins go with length differences, and whether samples changed length in that direction."""
    correlation, samples = history.held("length_correlation"), history.held("sample_length")
    if not correlation:
        return None
    r = correlation[-1][1]
    change = history.change("sample_length")
    ratio = change[1].mean / change[0].mean if change and change[0].mean else None
    series = {"correlation": correlation, **({"tokens a sample / 100": _hundredth(samples)} if samples else {})}
    drawing = lines("Margin and length", "1", series, "At ±1, the margin is a matter of length alone.")
    figures = {"length_correlation": r.mean, "sample_length_ratio": ratio}
    said = f"The margin's correlation with the length difference is {r.mean:.2f}"
    longer = r.mean > limits.LONGER_CORRELATION and r.mean - limits.Z * r.se > 0
    shorter = r.mean < limits.SHORTER_CORRELATION and r.mean + limits.Z * r.se < 0
    follows = longer or shorter
    moved = change is not None and ratio is not None and _surely(ratio, change, longer=longer)
    if not follows:
        return Finding(NAME, "fine", f"{said}.", "", figures, drawing)
    if not moved or ratio is None or change is None:
        says = f"{said}, but samples did not follow: normal in DPO on data whose better answers are longer."
        return Finding(NAME, "note", says, "", figures, drawing)
    way = "longer" if ratio > 1 else "shorter"
    says = (
        f"{said}, and samples became {percent(abs(ratio - 1))} {way} ({number(change[0].mean)} to "
        f"{number(change[1].mean)} tokens): length is being learned, whatever else is."
    )
    return Finding(NAME, "look", says, _REMEDY, figures, drawing)


def _surely(ratio: float, change: tuple[Point, Point], *, longer: bool) -> bool:
    first, last = change
    if longer:
        return ratio > 1 + limits.LONGER and last.beyond(first, limits.Z) > 0
    return ratio < 1 - limits.SHORTER and first.beyond(last, limits.Z) > 0


def _hundredth(line: Line) -> Line:
    return [(step, Point(point.mean / 100, point.se / 100, point.n)) for step, point in line]
