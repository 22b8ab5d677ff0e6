"""No learning signal: the gradient is 0, labels that nothing predicts, or labels that say the opposite."""

from __future__ import annotations

from ..findings import Finding
from . import limits
from .history import History
from .outcomes import accuracy
from .pace import apart, loud, overshot, without_gradient
from .show import lines, percent


def signal(history: History) -> Finding | None:
    """Return whether there is anything to learn."""
    line = accuracy(history)
    if without_gradient(history):
        says = f"The gradient was exactly 0 in all {history.step} steps, so nothing is learned."
        remedy = (
            "Check that policy and reference share no storage, that weights are trainable, and that chosen and "
            "rejected responses differ: `logratio check` names the cause."
        )
        return Finding("no_signal", "stop", says, remedy, {"steps": history.step})
    if not line:
        return None
    last = line[-1][1]
    drawing = lines("Held-out accuracy", "share", {"held out": line}, "0.5 is chance.")
    figures = {"held_out_accuracy": last.mean, "pairs": last.n}
    said = f"Held-out accuracy is {percent(last.mean)} over {last.n} pairs"
    far = apart(history)
    moved = far is None or far > limits.STILL
    moved = moved and overshot(history) is None and loud(history) is None  # else the rate or β is the cause
    unknown = history.step < history.pass_steps - 1e-9 and history.progress < 1  # it may still be learning
    unknown = unknown or limits.Z * last.se > limits.CHANCE or last.mean > 0.5 + limits.NEAR_CHANCE
    loss = history.change("loss")
    better = loss is not None and loss[1].mean < (1 - limits.BETTER_LOSS) * loss[0].mean
    if last.mean - limits.SURE * last.se > 0.5 or not moved or unknown or better or _opposite(history):
        return Finding("no_signal", "fine", f"{said}.", "", figures, drawing)
    says = f"{said}, which is chance, although the policy tells the pairs apart: it can learn nothing of their labels."
    remedy = (
        "Look at the data with `logratio audit`: random, contradictory or shuffled labels, or responses that hardly "
        "differ; try the same data with a reward model (objective reward) to see whether anything predicts it."
    )
    return Finding("no_signal", "look", says, remedy, figures, drawing)


def reversed_labels(history: History) -> Finding | None:
    """Return whether training makes held-out pairs worse than chance."""
    line = accuracy(history)
    if not line:
        return None
    last = line[-1][1]
    if not _opposite(history):
        return Finding("reversed_labels", "fine", f"Held-out accuracy is {percent(last.mean)}, not below chance.")
    says = (
        f"Held-out accuracy is {percent(last.mean)} over {last.n} pairs, below chance: what training calls chosen is "
        "what the held-out pairs call rejected."
    )
    remedy = "Check the mapping of chosen and rejected (rows.map), and flipped labels with `logratio audit`."
    drawing = lines("Held-out accuracy", "share", {"held out": line}, "0.5 is chance.")
    figures = {"held_out_accuracy": last.mean, "pairs": last.n}
    return Finding("reversed_labels", "look", says, remedy, figures, drawing)


def _opposite(history: History) -> bool:
    """Whether held-out accuracy is below chance, and the held-out loss higher than a lack of signal makes it."""
    line, loss = accuracy(history), history.change("loss")
    below = bool(line) and line[-1][1].mean + limits.Z * line[-1][1].se < 0.5
    return below and (loss is None or loss[1].mean > (1 + limits.REVERSED_LOSS) * loss[0].mean)
