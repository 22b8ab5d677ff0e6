"""Whether a planted fault is really there, told from samples, margins and steps, without the diagnosis."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean


def lines(file: Path) -> Iterator[dict]:
    with open(file, encoding="utf-8") as own:
        for line in own:
            yield json.loads(line)


def samples(run: Path, name: str) -> list[float]:
    """Return the mean of what samples have, of every evaluation in order."""
    found: dict[int, list[float]] = {}
    for row in lines(run / "samples.jsonl"):
        found.setdefault(row["step"], []).append(float(row[name]))
    return [fmean(values) for _, values in sorted(found.items())]


def steps(run: Path, name: str) -> list[float]:
    """Return what was measured of the last quarter of the steps."""
    found = [row[name] for row in lines(run / "metrics.jsonl") if row["kind"] == "train" and name in row]
    return found[-max(1, len(found) // 4) :]


def rewards(run: Path) -> list[float]:
    """Return the mean reward of the samples of every evaluation in order."""
    found = json.loads((run / "rewards.json").read_text())
    return [found[step]["mean"] for step in sorted(found, key=int)]


def right(run: Path) -> list[float]:
    """Return the share of held-out pairs with a margin above 0, of every evaluation after step 0."""
    return [fmean(m > 0 for m in row["margin"]) for row in lines(run / "margins.jsonl") if row["step"]]


def longer(run: Path) -> bool:
    lengths = samples(run, "tokens")
    return max(lengths) > 1.25 * lengths[0]


def endless(run: Path) -> bool:
    ended = samples(run, "ended")
    return min(ended) < 0.5 * ended[0]


def worse_than_before(run: Path) -> bool:
    return rewards(run)[-1] < rewards(run)[0]


def worse_than_best(run: Path) -> bool:
    return rewards(run)[-1] < max(rewards(run)) - 0.5


def by_heart(run: Path) -> bool:
    known = fmean(steps(run, "accuracy"))
    return known > 0.75 and known - right(run)[-1] > 0.2


def taught_out(run: Path) -> bool:
    return fmean(steps(run, "saturated")) > 0.5


def boastful(run: Path) -> bool:
    *_, last = lines(run / "margins.jsonl")
    claimed = fmean(1 / (1 + math.exp(-min(abs(m), 700))) for m in last["margin"])
    return claimed - right(run)[-1] > 0.1


def given_up(run: Path) -> bool:
    *_, last = lines(run / "margins.jsonl")
    return fmean(last["logratio_chosen"]) < -1 and (worse_than_best(run) or endless(run))


SIGNS: dict[str, Callable[[Path], bool]] = {
    "length": longer,
    "broken_eos": endless,
    "reversed_labels": worse_than_before,
    "label_noise": by_heart,
    "overfitting": by_heart,
    "overoptimisation": worse_than_best,
    "wrong_proxy": worse_than_before,
    "saturation": taught_out,
    "calibration": boastful,
    "displacement": given_up,
}
"""Fault → whether a run has it. The others are there by how the run was set up: by its β, rate, labels or texts."""
