"""How far the judging is, and how far those who judged agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ..audit.agreement import agreement, judgements, krippendorff
from ..audit.rows import read_rows
from ..errors import DataError
from ..maths.intervals import NOTHING, Measure, share_interval
from ..report.text import number, percent, visible
from .queue import VERDICTS


@dataclass(frozen=True)
class Person:
    """What one person judged.

    Attributes:
        name: Who.
        counts: Verdict → how often: a and b (the response shown first and second), tie, both_bad.
        seconds: Median time from the pair's being shown to its verdict; None where no row says.
    """

    name: str
    counts: dict[str, int]
    seconds: float | None

    @property
    def total(self) -> int:
        """How many pairs they judged."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class Status:
    """What a file of judgements holds.

    Attributes:
        people: Who judged, in order of first appearance.
        pairs: Different pairs judged.
        first: Share of decided judgements that went to the response shown first; ½ where position does not matter.
        twice: Pairs that two people or more judged.
        agree: Share of two judgements of one pair that agree; a tie and both bad are one verdict, neither better.
        alpha: Krippendorff's α of the three verdicts: 1 full agreement, 0 what chance gives.
        both_bad: Share of judgements that call both bad.
    """

    people: tuple[Person, ...]
    pairs: int
    first: Measure
    twice: int
    agree: Measure
    alpha: Measure
    both_bad: Measure

    @property
    def total(self) -> int:
        """How many judgements there are."""
        return sum(person.total for person in self.people)

    def to_json(self) -> dict[str, Any]:
        """Return what a page shows."""
        return {
            "people": [{"name": visible(person.name), **person.counts} for person in self.people],
            "lines": self.lines(),
        }

    def lines(self) -> list[str]:
        """Return the figures as sentences."""
        if not self.total:
            return ["Nothing is judged yet."]
        lines = [f"{_several(self.total, 'judgement')} of {_several(self.pairs, 'pair')} by {_people(self.people)}."]
        if self.both_bad.mean is not None:
            lines.append(f"Both bad: {_share(self.both_bad)} of judgements.")
        if self.first.mean is not None:
            low, high = self.first.low, self.first.high
            off = low is not None and high is not None and not low <= 0.5 <= high
            lines.append(
                f"The response shown first won {_share(self.first)} of {self.first.n:,} decided judgements"
                f"{': position weighs on these judgements' if off else ''}."
            )
        if self.agree.mean is None:
            lines.append("No pair was judged by two people, so nothing is said of agreement.")
        else:
            lines.append(
                f"Two people agree on {_share(self.agree)} of {_several(self.twice, 'pair')} judged more than once; "
                f"Krippendorff's α {_alpha(self.alpha)} (1 full agreement, 0 what chance gives)."
            )
        return lines


def status(rows: Sequence[dict[str, Any]]) -> Status:
    """Return the statistics of judgements as `Store.rows` gives them."""
    people = []
    for name in dict.fromkeys(str(row.get("annotator") or "") for row in rows):
        own = [row for row in rows if str(row.get("annotator") or "") == name]
        counted = Counter(str(row["winner"]) for row in own)
        times = [float(row["seconds"]) for row in own if isinstance(row.get("seconds"), (int, float))]
        counts: dict[str, int] = {verdict: counted[verdict] for verdict in VERDICTS}
        people.append(Person(name, counts, median(times) if times else None))
    decided = [row for row in rows if row["winner"] in ("a", "b")]
    twice, agree, alpha = _agreement(rows)
    return Status(
        people=tuple(people),
        pairs=len({str(row.get("task", number)) for number, row in enumerate(rows)}),
        first=_clustered([float(row["winner"] == "a") for row in decided], decided),
        twice=twice,
        agree=agree,
        alpha=alpha,
        both_bad=_clustered([float(row["winner"] == "both_bad") for row in rows], rows),
    )


def status_of(path: Path) -> Status:
    """Return the statistics of a file.

    Raises:
        DataError: There is no such file, or it holds something else.
    """
    from .store import Store

    if not path.is_file():
        raise DataError(f"{path} does not exist, so there is no judgement to count; check the path.")
    return status(Store(path).rows())


def _agreement(rows: Sequence[dict[str, Any]]) -> tuple[int, Measure, Measure]:
    try:
        own = judgements(read_rows(rows)) if rows else None
    except DataError:  # no row with two different responses
        own = None
    if own is None or not len(own.count_I3):
        return 0, NOTHING, NOTHING
    share = share_interval(agreement(own.count_I3), own.prompt_I)
    return len(own.count_I3), share, krippendorff(own.count_I3, own.prompt_I)


def _clustered(values: Sequence[float], rows: Sequence[dict[str, Any]]) -> Measure:
    """Return a share with its interval, judgements of one pair taken together."""
    return share_interval(values, [str(row.get("task", n)) for n, row in enumerate(rows)]) if values else NOTHING


def _share(measure: Measure) -> str:
    if measure.mean is None or measure.low is None or measure.high is None:
        return "unknown" if measure.mean is None else percent(measure.mean)
    return f"{percent(measure.mean)} [{percent(measure.low)}, {percent(measure.high)}]"


def _alpha(measure: Measure) -> str:
    if measure.mean is None or measure.low is None or measure.high is None:
        return "unknown" if measure.mean is None else f"{measure.mean:.2f}"
    return f"{measure.mean:.2f} [{measure.low:.2f}, {measure.high:.2f}]"


def _people(people: Sequence[Person]) -> str:
    return ", ".join(
        f"{visible(person.name) or 'somebody unnamed'} ({person.total:,}"
        f"{f', {number(round(person.seconds, 1))} s each' if person.seconds is not None else ''})"
        for person in people
    )


def _several(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
