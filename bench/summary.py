"""Runs of one case → the numbers that are shown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .process import PHASES

Run = Mapping[str, Any]
Case = Mapping[str, Any]


@dataclass(frozen=True)
class Spread:
    """Median of some repeats, with the smallest and the largest."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Summarise at least one value."""
        found = sorted(values)
        return cls(found[0], median(found), found[-1])


@dataclass(frozen=True)
class Line:
    """One measure of a case.

    Attributes:
        name: With its unit.
        ours, peer: Over the repeats; `peer` is None where only our side ran.
        ratio: TRL's over ours within each round, for times and memory; None for rates, and where losses disagree.
    """

    name: str
    ours: Spread
    peer: Spread | None
    ratio: Spread | None


def wall(*phases: str) -> Any:
    """Return the function from a run to the seconds of these phases."""
    return lambda run: sum(run["phases"][phase]["wall"] for phase in phases)


def processor(run: Run) -> float:
    """Return the processor seconds of reference and training."""
    return float(run["phases"]["reference"]["cpu"] + run["phases"]["training"]["cpu"])


def lines(case: Case) -> list[Line]:
    """Return the measures of a case, times and memory first."""
    facts, useful = case["workload"], {name: part["body"] + part["head"] for name, part in case["work"].items()}
    both = wall("reference", "training")
    costs = {
        **{f"{phase}, s": wall(phase) for phase in PHASES},
        "reference + training, s": both,
        "whole run, s": lambda run: run["wall"],
        "reference + training, processor s": processor,
        "peak memory, GB": lambda run: run["peak_memory"] / 1e9,
    }
    rates = {
        "pairs/s, training": lambda run: facts["pairs"] / wall("training")(run),
        "pairs/s, whole run": lambda run: facts["pairs"] / run["wall"],
        "unique tokens/s, training": lambda run: facts["unique_tokens"] / wall("training")(run),
        "useful GFLOP/s, training": lambda run: useful["training"] / wall("training")(run) / 1e9,
        "useful GFLOP/s, reference": lambda run: useful["reference"] / wall("reference")(run) / 1e9,
    }
    top = peak(case)
    shares = {
        "share of the matrix peak, training": lambda run: useful["training"] / wall("training")(run) / top,
        "share of the matrix peak, after the first step": lambda run: useful["later"] / run["later"]["wall"] / top,
        "share of the matrix peak, reference": lambda run: useful["reference"] / wall("reference")(run) / top,
    }
    found = [_line(case, name, of, compared=True) for name, of in costs.items()]
    return found + [_line(case, name, of, compared=False) for name, of in {**rates, **shares}.items()]


def _line(case: Case, name: str, of: Any, *, compared: bool) -> Line:
    own, others = side(case, "ours"), side(case, "trl")
    ratio = None
    if compared and others and comparable(case):
        ratio = Spread.of(of(other) / of(mine) for mine, other in zip(own, others, strict=True))
    return Line(name, Spread.of(map(of, own)), Spread.of(map(of, others)) if others else None, ratio)


def side(case: Case, name: str) -> list[Run]:
    """Return the runs of a side, by round."""
    return sorted((run for run in case["runs"] if run["side"] == name), key=lambda run: run["round"])


def comparable(case: Case) -> bool:
    """Whether both sides computed the same, so that a ratio of their times means something."""
    return bool(case["agreement"] and case["agreement"]["agree"])


def peak(case: Case) -> float:
    """Return the best rate of a matrix product in the case's precision, operations a second."""
    return float(max(measured[case["precision"]] for measured in case["peaks"]))


def quiet(case: Case) -> str:
    """Return "" where the machine had nothing else to do, or a sentence on what shows otherwise."""
    rates = [measured[case["precision"]] for measured in case["peaks"]]
    if min(rates) < 0.85 * max(rates):
        return (
            f"The machine was not quiet: the matrix peak was {rates[0] / 1e9:.0f} GFLOP/s before and "
            f"{rates[-1] / 1e9:.0f} after; times mean little, processor seconds somewhat more."
        )
    return ""


def of_precisions(cases: Sequence[Case]) -> list[str]:
    """Return a sentence on our bf16 against our fp32 for each model and data that both were measured on.

    The two were not measured in turn, so their ratio is of medians, and the matrix peaks beside it are each their own.
    """
    said = []
    for half in cases:
        same = [one for one in cases if (one["size"], one["data"]) == (half["size"], half["data"])]
        full = next((one for one in same if one["precision"] == "fp32"), None)
        if half["precision"] == "bf16" and full is not None:
            mine, other = (Spread.of(map(wall("training"), side(case, "ours"))).median for case in (half, full))
            ends = [side(case, "ours")[0]["losses"][-1] for case in (half, full)]
            said.append(
                f"{half['size']} · {half['data']}, ours, training: bf16 takes 1/{other / mine:.2f} of the time of "
                f"fp32, where the bf16 matrix peak is {peak(half) / peak(full):.2f} times that of fp32; loss of the "
                f"last step {ends[0]:.4f} against {ends[1]:.4f}."
            )
    return said


def titles(cases: Sequence[Case]) -> list[str]:
    """Return a short name of each case."""
    return [f"{case['size']} · {case['data']} · {case['precision']}" for case in cases]
