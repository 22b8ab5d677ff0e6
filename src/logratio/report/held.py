"""Held-out pairs through a run → plots: how margins spread, whether length explains them, and calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .beside import Held
from .kit import Dots, Figure, Plot, Scatter, Series
from .names import ACCURACY, KL, MARGIN, metric
from .read import Row, RunFiles, as_number, interval
from .text import number

QUANTILES = ("p05", "p25", "p50", "p75", "p95")
"""Names of what is drawn of a distribution."""

_BANDS = (
    ("p25", "p75", "median, and half of the pairs (25 to 75\u202f%)"),
    ("p05", "p95", "90\u202f% of the pairs (5 to 95\u202f%)"),
)


def distribution(run: RunFiles, held: Held) -> Plot | None:
    """Return how the margins of held-out pairs spread at each evaluation; None where they were not kept."""
    rows = {row["step"]: row["margin_quantiles"] for row in run.evals if _whole(row.get("margin_quantiles"))}
    if not rows:
        rows = {step: _quantiles(margins) for step, margins in zip(held.steps, held.margins, strict=True)}
        rows = {step: values for step, values in rows.items() if values}
    if not rows:
        return None
    steps = sorted(rows)
    series = [
        Series(
            said,
            steps,
            [rows[step]["p50"] for step in steps],
            [rows[step][low] for step in steps],
            [rows[step][high] for step in steps],
            look=look,
            band=True,
        )
        for look, (low, high, said) in enumerate(_BANDS)
    ]
    note = "Pairs below the dotted line are ranked against the annotators. A mean can rise while many pairs fall."
    return Plot("Margins of held-out pairs", metric(MARGIN).unit, series, note, level=0.0)


def _whole(value: Any) -> bool:
    return isinstance(value, Mapping) and all(as_number(value.get(name)) is not None for name in QUANTILES)


def _quantiles(margins: Sequence[float]) -> dict[str, float]:
    known = np.asarray(margins, np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return {}
    return {name: float(np.quantile(known, int(name[1:]) / 100)) for name in QUANTILES}


def against_length(held: Held) -> Scatter | None:
    """Return each pair's last margin against how much longer its chosen response is; None without the pairs."""
    if not held.pairs:
        return None
    longer = [float(pair.length_chosen - pair.length_rejected) for pair in held.pairs]
    last = held.margins[-1]
    dots = []
    for look, (label, right) in enumerate((("ranked as people did", True), ("ranked against them", False))):
        own = [i for i, margin in enumerate(last) if math.isfinite(margin) and (margin > 0) == right]
        names = [f"row {held.pairs[i].row}" for i in own]
        if own:
            dots.append(Dots(label, [longer[i] for i in own], [last[i] for i in own], names, look=look))
    if not dots:
        return None
    return Scatter(
        "Margin against length",
        "chosen longer by, tokens",
        "margin, nats",
        dots,
        f"{_correlation(longer, last)} Where longer answers have the larger margins, length is part of the reward.",
        level=0.0,
    )


def _correlation(longer: Sequence[float], margins: Sequence[float]) -> str:
    both = np.array([pair for pair in zip(longer, margins, strict=True) if math.isfinite(pair[1])])
    if len(both) < 3 or not both.any(axis=0).all():
        return f"{len(both):,} pairs; a correlation is not defined."
    size = np.sqrt((both**2).mean(axis=0))  # no BLAS: it ends a process short of memory
    r = float((both / size).prod(axis=1).mean())
    return f"r = {number(round(r, 3))} over {len(both):,} pairs in both orders."


def calibration(run: RunFiles) -> Scatter | str | None:
    """Return implied win probabilities against the shares that won, a sentence on why there are none, or None."""
    about = run.evaluation.get("about")
    places = (run.evaluation.get("calibration"), about.get("calibration") if isinstance(about, Mapping) else None)
    found = next((place for place in places if isinstance(place, Mapping)), None)
    if found is None:
        return None
    listed = found.get("bins")
    bins = [own for own in (listed if isinstance(listed, list) else []) if _known(own, "predicted", "observed")]
    if not bins:
        why = found.get("why_not")
        return why if isinstance(why, str) else None
    low, high = ([as_number(own.get(end)) for own in bins] for end in ("low", "high"))
    whole = any(end is not None for end in (*low, *high))
    dots = Dots(
        "held-out pairs, with 95\u202f% intervals" if whole else "held-out pairs",
        [own["predicted"] for own in bins],
        [own["observed"] for own in bins],
        [f"{int(as_number(own.get('n')) or 0):,} pairs" for own in bins],
        [math.nan if end is None else end for end in low] if whole else (),
        [math.nan if end is None else end for end in high] if whole else (),
    )
    error = interval(run.evaluation, "ece")
    said = f"Calibration error (ECE) {number(error.mean)}. " if error else ""
    return Scatter(
        "Calibration",
        "implied win probability",
        "share that won",
        [dots],
        f"{said}Of each pair, the response that the policy favours. On the dotted line, what margins claim comes true; "
        "below it they claim too much.",
        share=True,
        share_x=True,
        diagonal=True,
    )


def _known(own: Any, *names: str) -> bool:
    return isinstance(own, Mapping) and all(as_number(own.get(name)) is not None for name in names)


def against_kl(rows: Sequence[Row], name: str) -> Dots | None:
    """Return the path of a run in the plane of a measure over KL, one point an evaluation; None below two points."""
    found = [
        (kl.mean, value, row["step"])
        for row in rows
        if (kl := interval(row, KL)) is not None and (value := interval(row, name)) is not None
    ]
    if len(found) < 2:
        return None
    whole = all(value.ends is not None for _, value, _ in found)
    ends = [value.ends or (math.nan, math.nan) for _, value, _ in found]
    return Dots(
        "",
        [kl for kl, _, _ in found],
        [value.mean for _, value, _ in found],
        [f"step {step:,}" for _, _, step in found],
        [low for low, _ in ends] if whole else (),
        [high for _, high in ends] if whole else (),
        joined=True,
    )


def plane(name: str, dots: Sequence[Dots]) -> Scatter:
    """Return a measure against KL as a plot."""
    shown = metric(name)
    own = "The run's own margin, not a judge's reward: it can rise while nobody likes the answers better."
    return Scatter(
        f"{shown.label} against KL(π‖π_ref)",
        "KL, nats/response",
        f"{shown.label.lower()}, {shown.unit}" if shown.unit else shown.label.lower(),
        dots,
        own if name == MARGIN else "Bars: 95\u202f% intervals of held-out evaluations.",
        share=shown.share,
        level=0.5 if name == ACCURACY else None,
    )


def gains(rows: Sequence[Row]) -> list[str]:
    """Return what is drawn against KL: a measured reward if there is one, else the implicit margin, and accuracy."""
    names = {name for row in rows for name in row}
    judged: list[str] = [name for name in ("reward", "judge", "win_rate") if name in names]
    return [*(judged or [MARGIN] * (MARGIN in names)), *([ACCURACY] if ACCURACY in names else [])]


def distances(run: RunFiles) -> list[Figure]:
    """Return the planes of one run."""
    paths = [(name, against_kl(run.evals, name)) for name in gains(run.evals)]
    return [plane(name, [dots]) for name, dots in paths if dots is not None]
