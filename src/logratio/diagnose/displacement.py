"""Likelihood displacement and suppression imbalance: the margin grows while the chosen response falls too."""

from __future__ import annotations

from ..findings import Finding
from . import limits
from .history import History
from .outcomes import outcome
from .show import lines, number

NAME = "displacement"

_NORMAL = "normal in DPO when the responses of a pair are alike, while held-out accuracy rises and samples stay sound"
_REMEDY = (
    "Lower train.lr or raise objective.beta; or hold the chosen response up with objective.sft_weight 0.2, or with "
    "objective dpop."
)
_SIDES = (
    ("logratio_chosen_per_token", "logratio_rejected_per_token", "nat/token", limits.DISPLACED),
    ("logratio_desirable", "logratio_undesirable", "nat/response", limits.DISPLACED_RESPONSE),
)


def displacement(history: History) -> Finding | None:
    """Return whether the good responses became less probable, and how much of the margin comes from the bad ones."""
    for good, bad, unit, limit in _SIDES:
        chosen, rejected = history.either(good), history.either(bad)
        if not chosen or not rejected:
            continue
        up, down = chosen[-1][1], rejected[-1][1]
        drawing = lines(
            "Log-ratio to the reference",
            unit,
            {"chosen": chosen, "rejected": rejected},
            "Below 0, a response is less probable than it was at the reference.",
        )
        figures = {f"{good}": up.mean, f"{bad}": down.mean}
        fell = up.mean < -limit and up.mean + limits.Z * up.se < 0
        said = f"Chosen responses are at {up.mean:+.3f} {unit} against the reference, rejected ones at {down.mean:+.3f}"
        if not fell:
            return Finding(NAME, "fine", f"{said}.", figures=figures, drawing=drawing)
        result = outcome(history)
        how = "the margin comes from lowering the rejected ones" if down.mean < up.mean else "both fell alike"
        if result.bad:
            says = f"Chosen responses became less probable ({number(up.mean)} {unit}), {how}, {result.words}."
            return Finding(NAME, "look", says, _REMEDY, figures, drawing)
        says = f"Chosen responses became less probable ({number(up.mean)} {unit}), {how}, {result.words}: {_NORMAL}."
        return Finding(NAME, "note", says, "", figures, drawing)
    return None
