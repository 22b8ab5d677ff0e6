"""Miscalibration: margins claim more than they keep."""

from __future__ import annotations

from ..findings import Finding
from . import limits
from .history import History, Point
from .outcomes import accuracy
from .show import lines, percent

NAME = "calibration"


def calibration(history: History) -> Finding | None:
    """Return whether σ(|margin|), the accuracy that margins claim, exceeds held-out accuracy."""
    claimed, kept = history.held("confidence"), accuracy(history)
    if not claimed or not kept:
        return None
    (_, said), (_, true) = claimed[-1], kept[-1]
    paired = history.held("overconfidence")  # pair by pair, with a narrower interval; not at every objective
    gap = paired[-1][1] if paired else Point(said.mean - true.mean, (said.se**2 + true.se**2) ** 0.5, true.n)
    figures = {"claimed_accuracy": said.mean, "held_out_accuracy": true.mean, "overconfidence": gap.mean}
    drawing = lines(
        "Accuracy claimed and kept",
        "share",
        {"claimed, mean σ(|margin|)": claimed, "kept": kept},
        "Where the margins are calibrated, the two agree.",
    )
    says = f"Margins claim that {percent(said.mean)} of held-out pairs are ranked rightly, and {percent(true.mean)} are"
    if gap.mean <= limits.OVERCONFIDENT or gap.mean - limits.Z * gap.se <= 0:
        return Finding(NAME, "fine", f"{says}.", "", figures, drawing)
    if gap.mean <= limits.FAR_OVERCONFIDENT:
        normal = "normal in DPO, which goes on raising margins of pairs that are right"
        return Finding(NAME, "note", f"{says}: {normal}.", "", figures, drawing)
    remedy = (
        "Do not read margins as probabilities; fewer passes, a lower train.lr or objective.label_smoothing bring them "
        "down, and label noise may be what they cannot know."
    )
    return Finding(NAME, "look", f"{says}.", remedy, figures, drawing)
