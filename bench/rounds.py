"""One case: both sides in turn on one workload, and whether they did the same."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import process, texts, work
from .peer import VARIANTS
from .shapes import POSITIONS
from .workload import SEED, Workload

TOLERANCE = {"fp32": 1e-4, "bf16": 5e-3}
"""Largest relative difference between the two sides' losses of one step that counts as the same computation. Found at
this learning rate: 7e-6 in fp32; 4e-4 in bf16, where ours rounds the weights once a step and autocast each product."""

USUAL = ("precomputed", "live", "precomputed, 2 pairs at once", "precomputed, 1 pair at once")
"""Variants of the peer that are tried where none are named; checkpointing only costs time where memory suffices."""

NEAR = 1.5
"""Variants of which the first trial takes less than so many times the fastest one's are tried twice."""

BETA, RATE, CLIP = 0.1, 1e-4, 1.0
SETTINGS = {"beta": BETA, "lr": RATE, "clip": CLIP, "seed": SEED, "max_length": POSITIONS}


@dataclass(frozen=True)
class Plan:
    """How a case is measured.

    Attributes:
        repeats: Rounds, in each of which either side runs once.
        threads: Of both sides.
        precision: fp32, or bf16 (ours: float32 masters; TRL: autocast).
        python: The peer's interpreter; None measures our side alone.
        variants: Settings of the peer that compete.
        say: Told a line as the case goes on.
    """

    repeats: int
    threads: int
    precision: str
    python: Path | None
    variants: Sequence[str]
    say: Callable[[str], None]


def measure(given: Workload, plan: Plan) -> dict[str, Any]:
    """Return one case of the results: facts, work, every run, the peer's trials, and how losses agree."""
    facts = given.facts()
    spec = {
        **SETTINGS,
        "model": str(given.model),
        "data": str(given.data),
        "tokens": str(given.tokens),
        "steps": facts["steps"],
        "groups_a_step": texts.GROUPS_A_STEP[given.form],
        "threads": plan.threads,
        "precision": plan.precision,
    }
    _warm(given.model)
    trials, best = _choose(spec, plan)
    peaks = [process.peaks(plan.threads)]
    runs = []
    for number in range(plan.repeats):
        runs.append({**_told(process.ours(spec), plan, number), "round": number})
        if plan.python is not None:
            found = process.peer({**spec, "variant": best}, plan.python)
            runs.append({**_told(found, plan, number), "round": number})
    peaks.append(process.peaks(plan.threads))
    shape, lengths = given.shape, given.lengths
    return {
        "size": given.size,
        "data": given.form,
        "precision": plan.precision,
        "shape": {**asdict(shape), "body": shape.body},
        "settings": SETTINGS,
        "workload": facts,
        "work": {
            "reference": asdict(work.forward(shape, lengths)),
            "training": asdict(work.training(shape, lengths)),
            "later": asdict(work.training(shape, given.later)),
        },
        "peaks": peaks,
        "trials": trials,
        "best": best,
        "runs": runs,
        "agreement": agreement(runs, TOLERANCE[plan.precision]),
    }


def agreement(runs: Sequence[Mapping[str, Any]], tolerance: float) -> dict[str, Any] | None:
    """Return how far the sides' losses are apart at any step of any repeat; None with one side alone.

    Returns:
        tolerance; worst, the largest |difference| / |ours|, and its step from 1; moved, how far our losses go from the
        first one, relative to it; and whether they agree. Lists of unequal length, and a number that is none, agree
        with nothing; nor do losses that move by no more than the tolerance, since any two such runs would.
    """
    own = [run["losses"] for run in runs if run["side"] == "ours"]
    others = [run["losses"] for run in runs if run["side"] != "ours"]
    if not own or not others:
        return None
    found: dict[str, Any] = {"tolerance": tolerance, "worst": 0.0, "step": 0, "agree": False}
    found["moved"] = max(abs(loss - own[0][0]) / own[0][0] for loss in own[0])
    for mine in own:
        for other in others:
            if len(mine) != len(other):
                return {**found, "worst": None, "step": min(len(mine), len(other)) + 1}
            for at, (one, two) in enumerate(zip(mine, other, strict=True), 1):
                apart = abs(one - two) / abs(one)
                if not math.isfinite(apart):
                    return {**found, "worst": None, "step": at}
                if apart > found["worst"]:
                    found.update(worst=apart, step=at)
    return {**found, "agree": found["worst"] <= tolerance < found["moved"]}


def _choose(spec: process.Spec, plan: Plan) -> tuple[list[dict[str, Any]], str]:
    """Run each variant of the peer on the first step; return all of these runs and the fastest one's name.

    Those that come near the fastest are tried once more: one disturbance shall not decide which setting competes.
    """
    if plan.python is None:
        return [], ""
    if len(plan.variants) == 1:
        return [], plan.variants[0]
    trials = [_trial(variant, spec, plan, plan.python) for variant in plan.variants]
    done = [run for run in trials if "failed" not in run]
    if not done:
        raise process.RunFailed(f"no variant of TRL gets through the first step: {trials[-1]['failed']}")
    near = [run["variant"] for run in done if seconds(run) < NEAR * min(map(seconds, done))]
    if len(near) > 1:
        trials += [_trial(variant, spec, plan, plan.python) for variant in near]
    return trials, str(min((run for run in trials if "failed" not in run), key=seconds)["variant"])


def _trial(variant: str, spec: process.Spec, plan: Plan, python: Path) -> dict[str, Any]:
    try:
        run = process.peer({**spec, "variant": variant, "steps": 1}, python)
    except process.RunFailed as error:  # most often for want of memory, where another variant has enough
        run = {"variant": variant, "failed": str(error)}
    plan.say(f"    trial of TRL, {trial_line(run)}")
    return run


def trial_line(run: Mapping[str, Any]) -> str:
    """Return what a trial of the peer on the first step took, in words."""
    if "failed" in run:
        return f"{run['variant']}: failed ({run['failed'].splitlines()[0]})"
    return f"{run['variant']}: {seconds(run):.1f} s, {run['peak_memory'] / 1e9:.2f} GB"


def seconds(run: Mapping[str, Any]) -> float:
    """Return a run's reference and training together, seconds."""
    return float(run["phases"]["reference"]["wall"] + run["phases"]["training"]["wall"])


def _told(run: dict[str, Any], plan: Plan, number: int) -> dict[str, Any]:
    who = "ours" if run["side"] == "ours" else f"TRL, {run['variant']}"
    plan.say(
        f"    {number + 1}/{plan.repeats} {who}: {seconds(run):.1f} s reference and training, "
        f"{run['wall']:.1f} s in all, {run['peak_memory'] / 1e9:.2f} GB"
    )
    return run


def _warm(model: Path) -> None:
    """Read the weights once, so that the first side does not pay for the disk alone."""
    for path in model.glob("*.safetensors"):
        with open(path, "rb") as source, open(os.devnull, "wb") as nowhere:
            shutil.copyfileobj(source, nowhere)


def check_variants(names: Sequence[str]) -> None:
    """Refuse a variant that does not exist.

    Raises:
        ValueError: Names it and those there are.
    """
    for name in names:
        if name not in VARIANTS:
            raise ValueError(f"there is no variant {name!r} of TRL; there are: {', '.join(VARIANTS)}.")
