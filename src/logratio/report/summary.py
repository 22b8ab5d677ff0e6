"""The answer at the top of a report: did held-out accuracy rise, beyond what length explains."""

from __future__ import annotations

from dataclasses import dataclass

from .kit import Interval, Tile, Tone
from .names import ACCURACY, KL, LENGTH, LENGTH_ONLY, LOSS, NLL, metric
from .text import number, percent, spread

_FALLING_IS_GOOD = {LOSS, NLL}
_SHORT: dict[Tone, str] = {"good": "Yes", "bad": "No, it got worse", "warn": "Not shown", "plain": "Not shown"}


@dataclass(frozen=True)
class Measured:
    """What the summary is drawn from; a metric that was not measured has no entry.

    Attributes:
        before: Evaluation of the policy at step 0, by metric.
        after: Evaluation of the policy that `after_what` names, by metric.
        after_what: E.g. "final policy", or "step 120" where a run did not finish.
        generates: Whether the model writes; a reward model has no samples to measure a KL on.
    """

    before: dict[str, Interval]
    after: dict[str, Interval]
    after_what: str
    generates: bool = True


@dataclass(frozen=True)
class Verdict:
    """The answer in a few words and in a sentence, and what it rests on."""

    tone: Tone
    short: str
    headline: str
    support: str


def verdict(measured: Measured) -> Verdict:
    """Return the answer: on accuracy if it was measured, else on loss; with the length-only baseline.

    A change is claimed only where the two 95 % intervals do not touch, which is stricter than a paired test. A
    policy that still is its reference ties on every pair; that accuracy of one half is known and counts as a point.
    """
    name = next((name for name in (ACCURACY, NLL, LOSS) if name in measured.after), None)
    if name is None:
        said = "Nothing was measured on held-out data, so this page cannot say whether it helped."
        return Verdict("warn", "Not measured", said, "")
    after = measured.after[name]
    tone, headline = _change(name, measured.before.get(name), after)
    short = _SHORT[tone]
    support = [f"{measured.after_what[0].upper()}{measured.after_what[1:]}: {whole(after)}."]
    if name == ACCURACY:
        length_tone, sentence = _against_length(after, measured.after.get(LENGTH_ONLY))
        support.append(sentence)
        if tone == "good" and length_tone != "good":
            tone, short = length_tone, "Perhaps by length alone"
    return Verdict(tone, short, headline, " ".join(support))


def tiles(measured: Measured) -> list[Tile]:
    """Return the key numbers, those that were measured."""
    names = (ACCURACY, LENGTH_ONLY, KL, LENGTH) if ACCURACY in measured.after else (NLL, LOSS, KL, LENGTH)
    return [_tile(name, measured) for name in names if name in measured.after]


def _change(name: str, before: Interval | None, after: Interval) -> tuple[Tone, str]:
    what = f"Held-out {metric(name).label.lower().removeprefix('pair ')}"
    if before is None:
        return "warn", f"{what} is {mean(after)}; it was not measured at step 0, so a change is not known."
    path = f"{mean(before)} at step 0, {mean(after)} after"
    if before.n != after.n:
        counts = f"{_count(before)} before, {_count(after)} after"
        return "warn", f"{what} is not shown to have changed: {path}, but not on the same data ({counts})."
    if before.ends is None or after.ends is None:
        return "warn", f"{what} is not shown to have changed: {path}, without intervals."
    tied = name == ACCURACY and before.alike and before.mean == 0.5
    low, high = (0.5, 0.5) if tied else before.ends
    rose, fell = after.ends[0] > high, after.ends[1] < low
    if not (rose or fell):
        return "warn", f"{what} is not shown to have changed: {path}, and the intervals overlap."
    good = fell if name in _FALLING_IS_GOOD else rose
    return "good" if good else "bad", f"{what} {'rose' if rose else 'fell'} from {mean(before)} to {mean(after)}."


def _against_length(after: Interval, baseline: Interval | None) -> tuple[Tone, str]:
    if baseline is None:
        return "warn", "The length-only baseline was not measured, so length alone may explain this."
    judged = f"Judging by length alone scores {mean(baseline)}"
    if after.ends is None or after.ends[0] <= baseline.mean:
        return "warn", f"{judged}, which this is not shown to beat."
    return "good", f"{judged}, so length alone does not explain this."


def _tile(name: str, measured: Measured) -> Tile:
    after, before, what = measured.after[name], measured.before.get(name), metric(name)
    moved = before is not None and name not in (LENGTH_ONLY, KL)
    detail = [f"95\u202f% interval {_ends(after)}"] if after.ends else []
    if after.n is not None:
        detail.append(f"n\u00a0=\u00a0{after.n:,}")
    return Tile(
        label=f"{what.label}, {what.unit}" if what.unit else what.label,
        value=f"{mean(before)} → {mean(after)}" if moved and before is not None else mean(after),
        detail=", ".join(detail),
        about=what.about,
    )


def mean(value: Interval) -> str:
    """Return an estimate with the digits that its interval supports."""
    if value.share:
        return percent(value.mean)
    return spread(value.mean, *value.ends)[0] if value.ends else number(value.mean)


def _ends(value: Interval) -> str:
    assert value.ends is not None
    low, high = map(percent, value.ends) if value.share else spread(value.mean, *value.ends)[1:]
    return f"{low} to {high}"


def whole(value: Interval, unit: str = "") -> str:
    """Return e.g. `7.0 nats (95 % interval 6.5 to 7.5, n = 128)`."""
    inside = [f"95\u202f% interval {_ends(value)}"] if value.ends else []
    if value.n is not None:
        inside.append(f"n\u00a0=\u00a0{value.n:,}")
    return f"{mean(value)} {unit}".strip() + (f" ({', '.join(inside)})" if inside else "")


def _count(value: Interval) -> str:
    return "an unknown number" if value.n is None else f"n\u00a0=\u00a0{value.n:,}"
