"""Collapse: samples repeat themselves or each other, no longer end, end at once, leave nothing to chance, or all."""

from __future__ import annotations

from collections.abc import Iterator

from ..findings import Finding, Level
from ..metrics import ENTROPY_HIGH
from . import limits
from .history import History
from .outcomes import apart, ending
from .show import lines, number, percent

NAME = "collapse"

_REMEDY = "where samples no longer end, check that responses in the data end with one trainable EOS."

Sign = tuple[Level, str]


def collapse(history: History) -> Finding | None:
    """Return what samples of fixed prompts have become since step 0."""
    names = ("repetition", "ended", "self_overlap", "sample_length", "entropy_per_token")
    changes = {name: change for name in names if (change := history.change(name))}
    if not changes:
        return None
    shares = {name: history.held(name) for name in names[:3] if name in changes}
    drawing = lines("Form of the samples", "share", {name.replace("_", " "): line for name, line in shares.items()})
    figures = {f"{name}_last": last.mean for name, (_, last) in changes.items()}
    signs = [*_repeating(history), *_ending(history), *_narrow(history)]
    if not signs:
        says = "Samples end, repeat and vary as they did at step 0."
        if "ended" in changes and not ending(history):
            says = "Samples repeat and vary as they did at step 0; none ended by itself, then or now."
        return Finding(NAME, "fine", says, "", figures, drawing)
    level: Level = "stop" if any(level == "stop" for level, _ in signs) else "look"
    said = "; ".join(text for _, text in signs)
    remedy = f"Go back to a checkpoint before it, and lower train.lr{history.about.nearer(' or ')}; {_REMEDY}"
    return Finding(NAME, level, f"{said[:1].upper()}{said[1:]}.", remedy, figures, drawing)


def _repeating(history: History) -> Iterator[Sign]:
    if change := history.change("repetition"):
        first, last = change
        rise = last.mean - first.mean
        if rise > limits.REPETITION_RISE and last.beyond(first, limits.Z) > 0:
            level: Level = "stop" if rise > limits.COLLAPSE_REPETITION else "look"
            yield level, f"{percent(last.mean)} of 4-grams repeat earlier ones ({percent(first.mean)} at step 0)"
    if change := history.change("self_overlap"):
        first, last = change
        if last.mean - first.mean > limits.OVERLAP_RISE:
            level = "stop" if last.mean - first.mean > 2 * limits.OVERLAP_RISE else "look"
            was = percent(first.mean)
            yield level, f"answers to different prompts share {percent(last.mean)} of their 4-grams ({was} at step 0)"


def _ending(history: History) -> Iterator[Sign]:
    if change := history.change("ended"):
        first, last = change
        if first.mean - last.mean > limits.ENDED_FALL and first.beyond(last, limits.Z) > 0:
            level: Level = "stop" if last.mean < limits.COLLAPSE_ENDED * first.mean else "look"
            yield level, f"{percent(last.mean)} of samples end by themselves ({percent(first.mean)} at step 0)"
    if change := history.change("sample_length"):
        first, last = change
        if last.mean < limits.SHORT * first.mean and first.beyond(last, limits.Z) > 0:
            level = "stop" if last.mean < limits.SHORT * first.mean / 2 else "look"
            yield level, f"samples have {number(last.mean)} tokens ({number(first.mean)} at step 0)"


def _narrow(history: History) -> Iterator[Sign]:
    if change := history.change("entropy_per_token"):
        first, last = change
        if last.mean < limits.ENTROPY_LOW * first.mean and first.beyond(last, limits.Z) > 0:
            level: Level = "stop" if last.mean < limits.ENTROPY_GONE * first.mean else "look"
            yield level, f"samples have {number(last.mean)} nat/token of entropy left ({number(first.mean)} at step 0)"
    if change := apart(history):
        first, last = change
        said = f"samples fall apart: {number(last.mean)} nat/token of entropy, {number(first.mean)} at step 0"
        yield "stop" if last.mean > ENTROPY_HIGH**2 * first.mean else "look", said
