"""Likelihood displacement and suppression imbalance: the margin grows while the chosen response falls too."""

from __future__ import annotations

from dataclasses import dataclass

from ..findings import Finding
from . import limits
from .history import History
from .outcomes import outcome
from .show import Line, lines, number

NAME = "displacement"


@dataclass(frozen=True)
class _Sides:
    """The metrics of the good and the bad responses, and the words for them.

    Attributes:
        good, bad: Metrics.
        unit: Their unit.
        limit: By how much the good ones may fall.
        names: What the good and the bad ones are called.
        gap: What grows between them.
        normal: Where a fall is normal.
        remedy: What helps beside a lower rate and a nearer reference.
    """

    good: str
    bad: str
    unit: str
    limit: float
    names: tuple[str, str]
    gap: str
    normal: str
    remedy: str


_SIDES = (
    _Sides(
        "logratio_chosen_per_token",
        "logratio_rejected_per_token",
        "nat/token",
        limits.DISPLACED,
        ("chosen", "rejected"),
        "the margin",
        "normal in DPO when the responses of a pair are alike, while held-out accuracy rises and samples stay sound",
        "; or hold the chosen response up with objective.sft_weight 0.2, or with objective dpop.",
    ),
    _Sides(
        "logratio_desirable",
        "logratio_undesirable",
        "nat/response",
        limits.DISPLACED_RESPONSE,
        ("desirable", "undesirable"),
        "what tells them apart",
        "normal when desirable and undesirable responses are alike, while samples stay sound",
        ".",
    ),
)


def displacement(history: History) -> Finding | None:
    """Return whether the good responses became less probable, and whether the bad ones fell further."""
    for sides in _SIDES:
        good, bad = history.either(sides.good), history.either(sides.bad)
        if good and bad:
            return _judged(history, sides, good, bad)
    return None


def _judged(history: History, sides: _Sides, good: Line, bad: Line) -> Finding:
    up, down = good[-1][1], bad[-1][1]
    (better, worse), unit = sides.names, sides.unit
    drawing = lines(
        "Log-ratio to the reference",
        unit,
        {better: good, worse: bad},
        "Below 0, a response is less probable than it was at the reference.",
    )
    figures = {sides.good: up.mean, sides.bad: down.mean}
    if not (up.mean < -sides.limit and up.mean + limits.Z * up.se < 0):
        says = (
            f"{better.capitalize()} responses are at {up.mean:+.3f} {unit} against the reference, {worse} ones at "
            f"{down.mean:+.3f}."
        )
        return Finding(NAME, "fine", says, figures=figures, drawing=drawing)
    result = outcome(history)
    how = (
        f"{sides.gap} comes from lowering the {worse} ones"
        if down.mean < up.mean
        else f"{worse} ones did not fall further"
    )
    says = f"{better.capitalize()} responses became less probable ({number(up.mean)} {unit}), {how}, {result.words}"
    if result.bad:
        remedy = f"Lower train.lr{history.about.nearer(' or ')}{sides.remedy}"
        return Finding(NAME, "look", f"{says}.", remedy, figures, drawing)
    return Finding(NAME, "note", f"{says}: {sides.normal}.", "", figures, drawing)
