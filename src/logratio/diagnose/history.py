"""A run's metrics as a diagnosis reads them: one window an evaluation, whatever the number of steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..metrics import PER_TOKEN

Row = Mapping[str, Any]

_NORMAL = 1.96
_NOT_METRICS = {"kind", "step", "time", "select", "unseen"}
_FINE = ("accuracy", "per_token_accuracy", "likelihood_accuracy")
_BUCKETS = 256


@dataclass(frozen=True)
class Point:
    """A mean with its standard error.

    Attributes:
        mean: The estimate.
        se: Standard error; 0 where it is known exactly or not at all.
        n: Items behind it.
    """

    mean: float
    se: float
    n: int

    def beyond(self, other: Point, z: float) -> float:
        """Return how much higher this is than another at the least: the difference less z standard errors of it."""
        return self.mean - other.mean - z * math.hypot(self.se, other.se)


@dataclass(frozen=True)
class Window:
    """The steps from one evaluation to the next, and the evaluation at their end.

    Attributes:
        step: Steps completed.
        steps: Training steps since the evaluation before.
        train: Metric → its mean over those steps.
        most: Metric → its largest value in them.
        held: Metric → what the evaluation measured.
        quantiles: Quantiles of the held-out margins, as p05; empty where there are none.
    """

    step: int
    steps: int
    train: Mapping[str, Point]
    most: Mapping[str, float]
    held: Mapping[str, Point]
    quantiles: Mapping[str, float]


@dataclass(frozen=True)
class About:
    """What is known of a run beside its metrics.

    Attributes:
        objective: Its name.
        beta: β of the objective; None where it has none.
        scale: What the margin is per nat of h, the difference of log-ratios summed over responses; None where it is no
            multiple of that.
        lr: Peak learning rate; None where it is not known.
        steps: Steps planned; None where they are not known.
        epochs: Passes over the data that those make.
        near: The key that holds the policy near its reference when it is raised, as `objective.beta`; "" without one.
    """

    objective: str = "dpo"
    beta: float | None = None
    scale: float | None = None
    lr: float | None = None
    steps: int | None = None
    epochs: float = 1.0
    near: str = ""

    @classmethod
    def of(cls, config: Mapping[str, Any], steps: int | None) -> About:
        """Read a recipe as `config.yaml` holds it."""
        objective, train = config.get("objective") or {}, config.get("train") or {}
        name, beta = str(objective.get("name", "dpo")), _number(objective.get("beta"))
        curved = name == "chi_po" or objective.get("divergence", "reverse_kl") != "reverse_kl"
        per_nat = next((own for own in (beta, _number(objective.get("tau"))) if own is not None), 1.0)
        return cls(
            objective=name,
            beta=beta,
            scale=None if curved or name in PER_TOKEN else per_nat,
            lr=_number(train.get("lr")),
            steps=steps,
            epochs=_number(train.get("epochs")) or 1.0,
            near=next((f"objective.{key}" for key in ("beta", "tau") if key in objective), ""),
        )

    def nearer(self, before: str, after: str = "") -> str:
        """Return advice to raise that key, between two texts; "" where the objective has none."""
        return f"{before}raise {self.near}{after}" if self.near else ""


@dataclass(frozen=True)
class History:
    """A run so far.

    Attributes:
        windows: In order of steps; the first one is the evaluation at step 0 where there is one.
        about: What else is known.
        fine: Training accuracy in buckets of equally many steps: (last step, name → mean).
    """

    windows: Sequence[Window]
    about: About = field(default_factory=About)
    fine: Sequence[tuple[int, Mapping[str, Point]]] = ()

    @property
    def step(self) -> int:
        """Steps completed at the last evaluation."""
        return self.windows[-1].step if self.windows else 0

    @property
    def progress(self) -> float:
        """Share of the run that is done, in [0, 1]; 1 where its length is not known."""
        return min(1.0, self.step / self.about.steps) if self.about.steps else 1.0

    @property
    def pass_steps(self) -> float:
        """Steps of one pass over the data."""
        return (self.about.steps or self.step) / self.about.epochs

    def held(self, name: str) -> list[tuple[int, Point]]:
        """Return (step, measure) of every evaluation that has it."""
        return [(window.step, window.held[name]) for window in self.windows if name in window.held]

    def train(self, name: str) -> list[tuple[int, Point]]:
        """Return (last step, mean) of every window whose steps have it."""
        return [(window.step, window.train[name]) for window in self.windows if name in window.train]

    def either(self, name: str) -> list[tuple[int, Point]]:
        """Return what was measured on held-out data, else in training."""
        return self.held(name) or self.train(name)

    def change(self, name: str) -> tuple[Point, Point] | None:
        """Return the first and the last evaluation of a measure; None unless there are two."""
        found = self.held(name)
        return (found[0][1], found[-1][1]) if len(found) > 1 else None

    def within(self, name: str, begin: float, end: float) -> Point | None:
        """Return training accuracy over the buckets that end in (begin, end], in steps; None without any."""
        found = [own[name] for step, own in self.fine if begin + 1e-9 < step <= end + 1e-9 and name in own]
        total = sum(point.n for point in found)
        if not total:
            return None
        mean = sum(point.n * point.mean for point in found) / total
        spread = sum(point.n * (point.mean - mean) ** 2 for point in found) / total
        se = math.sqrt(spread / (len(found) - 1)) if len(found) > 1 else found[0].se
        return Point(mean, se, total)


class Digest:
    """Takes metric rows one by one and keeps what a diagnosis needs, which grows with evaluations, not steps."""

    def __init__(self) -> None:
        self.windows: list[Window] = []
        self._sums: dict[str, list[float]] = {}
        self._steps = 0
        self._fine: list[tuple[int, dict[str, tuple[float, int]]]] = []
        self._width = 1

    def add(self, row: Row) -> None:
        """Take a row of `metrics.jsonl`; rows of other kinds than train and eval are passed over."""
        if row.get("kind") == "train":
            self._steps += 1
            self._refine(row)
            for name, value in row.items():
                number = _number(value)
                if name not in _NOT_METRICS and number is not None:
                    sums = self._sums.setdefault(name, [0.0, 0.0, 0.0, -math.inf])
                    sums[:] = [sums[0] + 1, sums[1] + number, sums[2] + number**2, max(sums[3], number)]
        elif row.get("kind") == "eval":
            self._close(row)

    def history(self, about: About) -> History:
        """Return the run up to the last evaluation."""
        fine = [
            (step, {name: Point(total / n, 0.0, n) for name, (total, n) in own.items()}) for step, own in self._fine
        ]
        return History(tuple(self.windows), about, fine)

    def _refine(self, row: Row) -> None:
        """Keep training accuracy in at most 256 buckets; when there are more, each two become one."""
        own = {name: (value, 1) for name in _FINE if (value := _number(row.get(name))) is not None}
        if not own:
            return
        last, step = self._fine[-1] if self._fine else None, int(row["step"])
        if last is not None and (step - 1) // self._width == (last[0] - 1) // self._width:
            self._fine[-1] = (step, _added(last[1], own))
        else:
            self._fine.append((step, own))
        if len(self._fine) > _BUCKETS:
            self._width *= 2
            old, self._fine = self._fine, []
            for at, sums in old:
                if self._fine and (at - 1) // self._width == (self._fine[-1][0] - 1) // self._width:
                    self._fine[-1] = (at, _added(self._fine[-1][1], sums))
                else:
                    self._fine.append((at, sums))

    def _close(self, row: Row) -> None:
        train = {name: _mean(sums) for name, sums in self._sums.items()}
        most = {name: sums[3] for name, sums in self._sums.items()}
        quantiles = {name: value for name, value in (row.get("margin_quantiles") or {}).items() if value is not None}
        held = {name: point for name, value in row.items() if (point := _point(name, value)) is not None}
        self.windows.append(Window(int(row["step"]), self._steps, train, most, held, quantiles))
        self._sums, self._steps = {}, 0


def history(rows: Iterable[Row], about: About) -> History:
    """Return the history that rows of `metrics.jsonl` tell."""
    digest = Digest()
    for row in rows:
        digest.add(row)
    return digest.history(about)


def _added(
    one: Mapping[str, tuple[float, int]], other: Mapping[str, tuple[float, int]]
) -> dict[str, tuple[float, int]]:
    none = (0.0, 0)
    names = {**one, **other}
    return {
        name: (one.get(name, none)[0] + other.get(name, none)[0], one.get(name, none)[1] + other.get(name, none)[1])
        for name in names
    }


def _mean(sums: Sequence[float]) -> Point:
    n, total, squares, _ = sums
    mean = total / n
    spread = max(0.0, squares / n - mean**2)
    return Point(mean, math.sqrt(spread / (n - 1)) if n > 1 else 0.0, int(n))


def _point(name: str, value: Any) -> Point | None:
    """Return a measure; its standard error is read off its interval, which keeps a width where all items agree."""
    if not isinstance(value, Mapping) or (mean := _number(value.get("mean"))) is None:
        return None
    low, high, n = (_number(value.get(key)) for key in ("low", "high", "n"))
    tied = mean == 0.5 and _number(value.get("se")) == 0  # the policy is its reference: every pair a tie, known exactly
    se = 0.0 if low is None or high is None or tied else (high - low) / (2 * _NORMAL)
    return Point(mean, se, int(n or 0))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)
