"""Learning rate and β, too small or too large: how far the policy went, and how hard it is still pulled."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..findings import Drawing, Finding
from . import limits
from .history import History, Point, Window
from .show import Line, lines, number, percent


def spread(window: Window) -> float | None:
    """Return the nats between the 5 % and the 95 % quantile of an evaluation's margins; None where not measured."""
    if "p05" not in window.quantiles or "p95" not in window.quantiles:
        return None
    return window.quantiles["p95"] - window.quantiles["p05"]


def apart(history: History) -> float | None:
    """Return the same of h at the last evaluation: how far the policy tells pairs apart, in nats.

    None where the margin is no multiple of h.
    """
    wide, scale = spread(history.windows[-1]), history.about.scale
    return None if wide is None or not scale else wide / scale


def overshot(history: History) -> tuple[int, float] | None:
    """Return the step of the first pass at which the held-out loss was highest, and by what share above step 0.

    None where it did not rise; where β or the square of IPO makes it large, or the policy had hardly moved, for the
    same reason; and where the training loss fell, since pairs that come again are being memorised. A square grows with
    the variance of h, which fresh pairs have at any rate, so that of IPO the logistic loss is asked.
    """
    square = history.about.objective == "ipo"

    def far(window: Window) -> bool:
        moved = window.held.get("kl_data", _FAR).mean > limits.MOVED
        return moved and not (square and _quiet(history, window, limits.UNSTABLE))

    return None if loud(history) else _highest(history, far)


def loud(history: History) -> tuple[int, float] | None:
    """Return the same where it is the doing of β: with the usual one the loss of that policy would not have risen.

    None of an objective on which this was never tried.
    """
    usual, own = limits.BETAS.get(history.about.objective), history.about.scale
    if usual is None or own is None or own <= usual:
        return None
    return _highest(history, lambda window: _quiet(history, window, limits.LOSS_RISE))


def _quiet(history: History, window: Window, by: float) -> bool:
    """Whether the logistic loss of these margins would have risen by less than a share of that at the reference.

    That is DPO's, at the usual β, or at the run's own where this is smaller. False where it was never tried.
    """
    usual, own = limits.BETAS.get(history.about.objective), history.about.scale
    if usual is None or own is None:
        return False
    margins = [window.quantiles[name] * min(1.0, usual / own) for name in _WEIGHTS if name in window.quantiles]
    if len(margins) < len(_WEIGHTS):
        return False
    mean = sum(_logistic(margin) * weight for margin, weight in zip(margins, _WEIGHTS.values(), strict=True))
    return mean < 1 + by


def _highest(history: History, counts: Callable[[Window], bool]) -> tuple[int, float] | None:
    """Return when the held-out loss was highest, of the evaluations of the first pass that count, and by what share."""
    first = history.windows[0].held.get("loss")
    if first is None or first.mean <= 0:
        return None
    early = [
        (window.step, window.held["loss"])
        for window in history.windows[1:]
        if window.step <= history.pass_steps + 1e-9
        and "loss" in window.held
        and window.train.get("loss", _FAR).mean > 0.9 * first.mean
        and counts(window)
    ]
    if not early:
        return None
    step, most = max(early, key=lambda at: at[1].mean)
    by = most.mean / first.mean - 1
    return (step, by) if by > limits.UNSTABLE and most.beyond(first, limits.Z) > 0 else None


def learning_rate(history: History) -> Finding | None:
    """Return whether steps are so short that nothing moves, or so long that even the first pass does harm."""
    loss = history.held("loss")
    if len(loss) < 2 or loss[0][1].mean <= 0:
        return None
    first, last = loss[0][1], loss[-1][1]
    change = last.mean / first.mean - 1
    drawing = _drawn(history, loss)
    figures = {"loss_change_share": change, "lr": history.about.lr}
    rate = f"train.lr {number(history.about.lr)}" if history.about.lr else "train.lr"
    if (rise := overshot(history)) is not None:
        step, by = rise
        says = (
            f"At step {step}, still in the first pass, the held-out loss was {percent(by)} above that of step 0: steps "
            f"of {rate} overshoot."
        )
        remedy = "Lower train.lr to a tenth; `logratio sweep --grid train.lr=…` finds the largest that holds."
        return Finding("learning_rate", "look", says, remedy, {**figures, "rise_share": by, "at_step": step}, drawing)
    told = apart(history)
    unknown = told is None and spread(history.windows[-1]) is not None  # pairs may be told apart all the same
    still = abs(change) < limits.STILL_LOSS and not unknown and (told is None or told < limits.STILL)
    if still and history.progress >= limits.HALF and not without_gradient(history):
        says = (
            f"After {history.step} steps the held-out loss has changed by {percent(abs(change))}, and no pair is told "
            f"from another: steps of {rate} are too short to learn anything in this time."
        )
        return Finding("learning_rate", "look", says, "Raise train.lr tenfold.", figures, drawing)
    says = f"The held-out loss changed by {100 * change:+.1f} %, without overshooting."
    return Finding("learning_rate", "fine", says, "", figures, drawing)


def beta(history: History) -> Finding | None:
    """Return whether β (of IPO τ) holds the policy so near that it cannot learn, or so loosely that nothing stops it.

    None of an objective on which these rules were never tried.
    """
    own, far, pull = history.about.scale, apart(history), history.held("effective_gradient")
    usual = limits.BETAS.get(history.about.objective)
    if usual is None or own is None or far is None or not pull:
        return None
    wide, left, key = far * own, pull[-1][1].mean, history.about.near
    figures = {"beta": own, "margin_spread_nat": wide, "logratio_spread_nat": far, "effective_gradient": left}
    drawing = lines("Effective gradient, mean σ(−margin)", "probability", {"held out": pull}, "½ at the reference.")
    default = f"the default of {history.about.objective} is {number(usual)}"
    said = f"{key} {number(own)}: the log-ratios of held-out pairs differ by {number(far)} nat (5 to 95 %)"
    firmly = "the loss counts the least movement as a firm judgement, and holds the policy where it is"
    lower = f"Lower {key} tenfold; {default}."
    if (rise := loud(history)) is not None:
        step, by = rise
        says = (
            f"{said}. At step {step}, still in the first pass, the held-out loss was {percent(by)} above that of step "
            f"0, and with {number(usual)} it would not have risen: {firmly}."
        )
        return Finding("beta", "look", says, lower, {**figures, "rise_share": by, "at_step": step}, drawing)
    if far < limits.HELD and wide > limits.LOUD and own > usual:
        says = f"{said}, yet their margins by {number(wide)}: {firmly}."
        return Finding("beta", "look", says, lower, figures, drawing)
    if far > limits.HELD and wide < limits.UNHEARD and own < usual and history.progress >= limits.HALF:
        says = (
            f"{said}, and their margins by no more than {number(wide)}: the loss has noticed nothing, still pulls at "
            f"{percent(2 * left)} of its first strength, and nothing holds the policy near its reference."
        )
        return Finding("beta", "look", says, f"Raise {key} tenfold; {default}.", figures, drawing)
    return Finding("beta", "fine", f"{said}, their margins by {number(wide)}.", "", figures, drawing)


def without_gradient(history: History) -> bool:
    """Whether the gradient was exactly 0 in every step."""
    norms = [window.most["grad_norm"] for window in history.windows if "grad_norm" in window.most]
    return bool(norms) and max(norms) == 0


def _drawn(history: History, loss: Line) -> Drawing:
    return lines("Loss", "of the objective", {"training": history.train("loss"), "held out": loss})


_FAR = Point(float("inf"), 0.0, 0)

_WEIGHTS = {"p05": 0.15, "p25": 0.225, "p50": 0.25, "p75": 0.225, "p95": 0.15}
"""Share of the pairs that each quantile stands for: those nearer to it than to its neighbours."""


def _logistic(margin: float) -> float:
    """Return −log σ(margin) as a share of that at the reference."""
    return (max(0.0, -margin) + math.log1p(math.exp(-abs(margin)))) / math.log(2)
