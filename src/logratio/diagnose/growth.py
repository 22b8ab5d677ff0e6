"""Over-optimisation: the margin and the distance from the reference grow on, what they are for does not."""

from __future__ import annotations

from ..findings import Finding
from . import limits
from .history import History
from .outcomes import REWARDS, accuracy, fallen
from .show import lines, number, percent

NAME = "overoptimisation"

_REMEDY = "Stop earlier (keep.best: eval/accuracy keeps the best checkpoint)"


def overoptimisation(history: History) -> Finding | None:
    """Return whether margin or KL grew since the outcome was best."""
    judged = {"accuracy": accuracy(history), **{name: history.held(name) for name in REWARDS}}
    judged = {name: line for name, line in judged.items() if len(line) > 1}
    margin = history.held("margin") or history.train("margin")
    if not judged or len(margin) < 2:
        return None
    drawing = lines("Margin against outcome", "nat, share", {"margin": margin, **judged})
    for name, line in judged.items():
        fall = fallen(line, limits.ACCURACY_FALL if name == "accuracy" else 0.0)
        if fall is None:
            continue
        (step, best), last = fall
        before = [point for at, point in margin if at <= step]
        if before and margin[-1][1].mean <= before[-1].mean:
            continue
        grew = f"from {number(before[-1].mean)} to {number(margin[-1][1].mean)} nat" if before else "on"
        shown = percent if name in ("accuracy", "win_rate") else number
        says = (
            f"Since step {step} the margin grew {grew}, while held-out {name.replace('_', ' ')} fell from "
            f"{shown(best.mean)} to {shown(last.mean)}: the loss is being served, not its purpose."
        )
        figures = {"best_step": step, f"best_{name}": best.mean, f"last_{name}": last.mean}
        remedy = f"{_REMEDY}{history.about.nearer(', ')}, or lower train.lr or train.epochs."
        return Finding(NAME, "look", says, remedy, figures, drawing)
    says = "No outcome fell from its best while the margin grew."
    return Finding(NAME, "fine", says, figures={"margin_nat": margin[-1][1].mean}, drawing=drawing)
