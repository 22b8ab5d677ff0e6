"""Miscalibration: a policy claims more than it keeps."""

from __future__ import annotations

from ..findings import Finding
from . import limits
from .history import History
from .outcomes import accuracy
from .show import lines, percent

NAME = "calibration"


def calibration(history: History) -> Finding | None:
    """Return whether the win probabilities that the loss implies exceed held-out accuracy.

    None where the loss implies none, see `logratio.evaluate.implied`: then a margin claims nothing.
    """
    over, kept = history.held("overconfidence"), accuracy(history)
    if not over or not kept:
        return None
    (_, gap), (_, true) = over[-1], kept[-1]
    figures = {"held_out_accuracy": true.mean, "overconfidence": gap.mean}
    drawing = lines(
        "Accuracy kept, and what is claimed beyond it",
        "share",
        {"held-out accuracy": kept, "overconfidence": over},
        "Where the implied probabilities are calibrated, overconfidence is 0.",
    )
    says = (
        f"{percent(true.mean)} of held-out pairs are ranked rightly, and the probabilities that the loss implies claim "
        f"{percent(abs(gap.mean))} {'more' if gap.mean > 0 else 'less'} than they keep"
    )
    if gap.mean <= limits.OVERCONFIDENT or gap.mean - limits.Z * gap.se <= 0:
        return Finding(NAME, "fine", f"{says}.", "", figures, drawing)
    if gap.mean <= limits.FAR_OVERCONFIDENT:
        normal = "normal in preference training, which goes on raising margins of pairs that are right"
        return Finding(NAME, "note", f"{says}: {normal}.", "", figures, drawing)
    remedy = (
        "Do not read margins as probabilities; fewer passes, a lower train.lr or objective.label_smoothing bring them "
        "down, and label noise may be what they cannot know."
    )
    return Finding(NAME, "look", f"{says}.", remedy, figures, drawing)
