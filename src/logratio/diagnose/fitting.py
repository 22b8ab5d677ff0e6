"""Saturation, overfitting and the fitting of label noise: what is learned no longer holds for new pairs."""

from __future__ import annotations

from ..findings import Finding
from ..metrics import SATURATED
from . import limits
from .history import History, Point
from .outcomes import ACCURACIES, accuracy, fallen, outcome
from .show import Line, lines, percent


def saturation(history: History) -> Finding | None:
    """Return whether most pairs have stopped teaching."""
    trained = history.train("saturated")
    line = trained or history.held("saturated")
    if not line:
        return None
    share = line[-1][1].mean
    drawing = lines("Saturated pairs", "share", {"training": trained, "held out": history.held("saturated")})
    figures = {"saturated_share": share}
    says = (
        f"{percent(share)} of {'training' if trained else 'held-out'} pairs are saturated: their effective gradient is "
        f"below {SATURATED:g}, where that of a pair at the reference is 0.5"
    )
    if share <= limits.SATURATED:
        return Finding("saturation", "fine", f"{says}.", "", figures, drawing)
    result = outcome(history)
    if result.bad:
        remedy = "Stop earlier: lower train.epochs, or keep.best: eval/accuracy; or lower train.lr."
        return Finding("saturation", "look", f"{says}, {result.words}.", remedy, figures, drawing)
    normal = "normal in DPO towards the end of a run of several passes"
    return Finding("saturation", "note", f"{says}, {result.words}: {normal}.", "", figures, drawing)


def overfitting(history: History) -> Finding | None:
    """Return whether pairs that are trained on are ranked far better than held-out ones, to the damage of these."""
    held, train = _held_accuracy(history), _training_accuracy(history)
    if not held or not train:
        return None
    (_, own), (_, other) = train[-1], held[-1]
    gap = own.mean - other.mean
    drawing = lines("Accuracy", "share", {"training": train, "held out": held}, "A gap is what was memorised.")
    figures = {"training_accuracy": own.mean, "held_out_accuracy": other.mean}
    said = f"Training accuracy is {percent(own.mean)}, held-out accuracy {percent(other.mean)}"
    if own.mean < limits.KNOWN or gap <= limits.MEMORISED or own.beyond(other, limits.Z) <= 0:
        return Finding("overfitting", "fine", f"{said}.", "", figures, drawing)
    worse = _worse_loss(history)
    fell = fallen(held, limits.ACCURACY_FALL)
    if not worse and not fell:
        says = (
            f"{said}: pairs are being memorised, so far without harm to the others; normal in DPO after several passes."
        )
        return Finding("overfitting", "note", says, "", figures, drawing)
    harm = [f"the held-out loss is {percent(worse)} above that of step 0"] if worse else []
    harm += [f"held-out accuracy was {percent(fell[0][1].mean)} at step {fell[0][0]}"] if fell else []
    remedy = (
        "Lower train.epochs or train.lr, keep the best checkpoint (keep.best: eval/accuracy), or add pairs; "
        "`logratio audit` finds duplicates."
    )
    return Finding("overfitting", "look", f"{said}, and {'; '.join(harm)}.", remedy, figures, drawing)


def label_noise(history: History) -> Finding | None:
    """Return whether labels that nothing predicted in the first pass are known by heart in the last."""
    name = next((name for name in ACCURACIES if history.train(name)), None)
    if name is None or history.about.epochs <= 1:
        return None
    one = history.pass_steps
    early, late = history.within(name, 0, one), history.within(name, history.step - one, history.step)
    if early is None or late is None or history.step < 2 * one - 1e-9:
        return None
    held = accuracy(history)
    drawing = lines("Accuracy", "share", {"training": history.train(name), "held out": held})
    figures = {"first_pass_accuracy": early.mean, "last_pass_accuracy": late.mean}
    said = (
        f"Training accuracy was {percent(early.mean)} in the first pass, when every pair was new, and is "
        f"{percent(late.mean)} in the last"
    )
    fitted = late.mean - early.mean > limits.NOISE_FITTED and late.beyond(early, limits.Z) > 0
    followed = not held or held[-1][1].mean > early.mean + limits.NOISE_FITTED / 2
    if not fitted or followed or early.mean > limits.UNPREDICTABLE:
        return Finding("label_noise", "fine", f"{said}.", "", figures, drawing)
    says = (
        f"{said}, while held-out accuracy is {percent(held[-1][1].mean)}: labels that nothing predicts are being "
        "learned by heart, as flipped or random ones are."
    )
    remedy = (
        "Measure the noise with `logratio audit`; one pass (train.epochs 1), objective robust_dpo or "
        "objective.label_smoothing."
    )
    return Finding("label_noise", "look", says, remedy, figures, drawing)


def _held_accuracy(history: History) -> Line:
    """Return it however few pairs were held out: a gap and a loss are judged by their standard errors here."""
    return next((line for name in ACCURACIES if (line := history.held(name))), [])


def _training_accuracy(history: History) -> Line:
    return next((line for name in ACCURACIES if (line := history.train(name))), [])


def _worse_loss(history: History) -> float | None:
    """Return by what share of it the held-out loss exceeds that of step 0; None where it does not, surely."""
    change: tuple[Point, Point] | None = history.change("loss")
    if change is None or change[0].mean <= 0:
        return None
    first, last = change
    rise = last.mean / first.mean - 1
    return rise if rise > limits.LOSS_RISE and last.beyond(first, limits.SURE) > 0 else None
