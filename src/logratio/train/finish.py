"""What a finished run leaves: the model, the last evaluation, the card, the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..batch.group import Group
from ..evaluate.calibration import UNDECIDED, unmeasured
from ..evaluate.pairs import length_baseline
from ..files import write_json
from ..models.card import write_card
from ..models.save import save_model
from ..report.page import write_report
from . import checkpoint
from .assemble import Assembled
from .gradient import Learner
from .noise_scale import pooled
from .rundir import RunDirectory
from .values import of_model


def finish(job: Assembled, directory: RunDirectory) -> Mapping[str, Any]:
    """Write `model/`, `evaluation.json` and `report.html`; return the evaluation.

    Where a best checkpoint was asked for, `model/` holds its weights, and what is reported was measured on the half of
    the prompts that did not choose it. `evaluation.json` has the same measures at step 0 under "before", and what a
    plot of the calibration needs under "calibration".
    """
    fit = job.fit
    rows = evaluations(directory)
    step, held = max(rows), "the last step"
    if fit.best:
        step = fit.best["step"]
        tensors, progress = checkpoint.load(directory.path / "checkpoints" / checkpoint.name_of(step))
        fit.load(tensors, progress)
        held = f"step {step}, the best by {fit.best['metric']} on the other half of the held-out prompts"
    elif (best := fit.config.keep.best) is not None:
        held = f"the last step, since {best} had a value at no evaluation after a step"
        fit.emit("warning", text=f"keep.best is {best}, but model/ holds {held}.")
    evaluation = measures(rows[step])
    judged = [fit.evaluate.groups[int(i)] for i in fit.evaluate.unseen()]
    if any(len(group.edges) for group in judged):
        baseline, rule = length_baseline(judged)
        evaluation = {**evaluation, "length_baseline": {**baseline.to_json(), "rule": rule}}
    noise = pooled(_rows(directory, "train"))
    if noise.n:
        evaluation = {**evaluation, "gradient_noise_scale": noise.to_json()}
    calibration = _calibration(rows[step], fit.learner, judged)
    state = fit.optimizer.weights()
    if fit.learner.world.rank == 0:
        directory.manifest(weights=held)
        beside = {"calibration": calibration, "before": measures(rows[0])}
        write_json(directory.path / "evaluation.json", {**evaluation, **beside})
        save_model(job.model, job.tokenizer, directory.path / "model", state=of_model(state))
        if job.opening.valued is not None:
            job.opening.valued.save(state, job.tokenizer, directory.path / "value")
        write_card(directory.path)
        directory.manifest(status="finished")
        write_report(directory.path)
    fit.learner.world.barrier()
    return evaluation


def evaluations(directory: RunDirectory) -> dict[int, dict[str, Any]]:
    """Return the evaluations of the run by step; step 0 and the last one are always there."""
    return {row["step"]: row for row in _rows(directory, "eval")}


def _rows(directory: RunDirectory, kind: str) -> list[dict[str, Any]]:
    lines = (directory.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def measures(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's measures, on the prompts that chose no checkpoint where some did."""
    found = {**row, **row.get("unseen", {})}
    return {name: value for name, value in found.items() if isinstance(value, dict) and "mean" in value}


def _calibration(row: Mapping[str, Any], learner: Learner, judged: Sequence[Group]) -> Mapping[str, Any]:
    """Return what a plot of the calibration needs, or why there is none, on the same prompts as `_measures`."""
    found: Mapping[str, Any] | None = row.get("unseen", row).get("calibration")
    return found or {"why_not": unmeasured(learner.objective, learner.settings, judged) or UNDECIDED}
