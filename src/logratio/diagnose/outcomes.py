"""What a run is judged by in the end: held-out accuracy, reward, how samples end and repeat, what was retained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..metrics import ENTROPY_APART, ENTROPY_HIGH
from . import limits
from .history import History, Point
from .show import Line, number, percent

ACCURACIES = ("accuracy", "per_token_accuracy", "likelihood_accuracy")
"""By which of them an objective is judged: the first that it has."""

REWARDS = ("reward", "win_rate")
"""Measured where somebody judges samples during the run."""


@dataclass(frozen=True)
class Outcome:
    """Whether anything went wrong that a person would mind.

    Attributes:
        bad: One clause each, with its figures.
        judged: Whether anything was measured by which this could be seen.
    """

    bad: tuple[str, ...]
    judged: bool

    @property
    def words(self) -> str:
        """A clause to end a sentence with."""
        if self.bad:
            return "and " + "; ".join(self.bad)
        sound = "and what was measured of the outcome is sound"
        return sound if self.judged else f"and no outcome was measured by which it could be judged ({_NEEDED})"


_NEEDED = f"accuracy needs {limits.PAIRS} held-out pairs, endings need samples that end within eval.max_new_tokens"


def accuracy(history: History) -> Line:
    """Return held-out accuracy over steps, where enough pairs were held out; empty otherwise."""
    found = next((line for name in ACCURACIES if (line := history.held(name))), [])
    return found if found and found[-1][1].n >= limits.PAIRS else []


def outcome(history: History) -> Outcome:
    """Judge a run by what it is for."""
    judged = bool(accuracy(history)) or any(history.change(name) for name in REWARDS) or ending(history)
    return Outcome(tuple(_bad(history)), judged or bool(history.held("retain_change")))


def ending(history: History) -> bool:
    """Whether samples ended by themselves at any time, so that their ending says something."""
    change = history.change("ended")
    return change is not None and max(change[0].mean, change[1].mean) > 0


def apart(history: History) -> tuple[Point, Point] | None:
    """Return the entropy of samples at first and at last where they fell apart: it rose far, and surely."""
    change = history.change("entropy_per_token")
    if change is None:
        return None
    first, last = change
    rose = last.mean > ENTROPY_HIGH * first.mean and last.mean - first.mean > ENTROPY_APART
    return change if rose and last.beyond(first, limits.Z) > 0 else None


def fallen(line: Line, by: float) -> tuple[tuple[int, Point], Point] | None:
    """Return the best and the last evaluation where that is lower by more than `by`, and surely lower; else None."""
    if len(line) < 2:
        return None
    best, (_, last) = max(line, key=lambda at: at[1].mean), line[-1]
    surely = best[1].beyond(last, limits.Z) > 0
    return (best, last) if surely and best[1].mean - last.mean > by else None


def _bad(history: History) -> Iterator[str]:
    line = accuracy(history)
    if fall := fallen(line, limits.ACCURACY_FALL):
        (step, best), last = fall
        yield f"held-out accuracy fell from {percent(best.mean)} (step {step}) to {percent(last.mean)}"
    elif line and line[-1][1].mean + limits.Z * line[-1][1].se < 0.5:
        yield f"held-out accuracy is {percent(line[-1][1].mean)}, below chance"
    for name in REWARDS:
        if fall := fallen(history.held(name), 0.0):
            (step, best), last = fall
            yield f"{name.replace('_', ' ')} fell from {number(best.mean)} (step {step}) to {number(last.mean)}"
    if (ended := history.change("ended")) and ended[0].mean - ended[1].mean > limits.ENDED_FALL:
        if ended[0].beyond(ended[1], limits.Z) > 0:
            yield f"{percent(ended[1].mean)} of samples end by themselves, {percent(ended[0].mean)} before"
    if (again := history.change("repetition")) and again[1].mean - again[0].mean > limits.REPETITION_RISE:
        if again[1].beyond(again[0], limits.Z) > 0:
            yield f"{percent(again[1].mean)} of 4-grams repeat earlier ones, {percent(again[0].mean)} before"
    if change := apart(history):
        yield f"samples fell apart ({number(change[1].mean)} nat/token of entropy, {number(change[0].mean)} before)"
    if (lost := history.held("retain_change")) and lost[-1][1].mean > limits.RETAIN_RISE:
        yield f"{number(lost[-1][1].mean)} nat/token were lost on texts to retain"
