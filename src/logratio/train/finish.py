"""What a finished run leaves: the model, the last evaluation, the card, the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..evaluate.pairs import length_baseline
from ..files import write_json
from ..models.card import write_card
from ..models.save import save_model
from ..report.page import write_report
from . import checkpoint
from .assemble import Assembled
from .rundir import RunDirectory


def finish(job: Assembled, directory: RunDirectory) -> Mapping[str, Any]:
    """Write `model/`, `evaluation.json` and `report.html`; return the evaluation.

    Where a best checkpoint was asked for, `model/` holds its weights, and what is reported was measured on the half of
    the prompts that did not choose it.
    """
    fit = job.fit
    evaluation, held = _last_evaluation(directory), "the last step"
    if fit.best:
        tensors, progress = checkpoint.load(directory.path / "checkpoints" / checkpoint.name_of(fit.best["step"]))
        fit.load(tensors, progress)
        judge = replace(fit.evaluate, keep_sample=lambda row: None)  # that step's samples are on file already
        evaluation = {**judge.measures(judge.unseen(), fit.best["step"]), **judge.sample(fit.best["step"])}
        held = f"step {fit.best['step']}, the best by {fit.best['metric']} on the other half of the held-out prompts"
    judged = [fit.evaluate.groups[int(i)] for i in fit.evaluate.unseen()]
    if any(len(group.edges) for group in judged):
        baseline, rule = length_baseline(judged)
        evaluation = {**evaluation, "length_baseline": {**baseline.to_json(), "rule": rule}}
    state = fit.optimizer.weights()
    if fit.learner.world.rank == 0:
        directory.manifest(weights=held)
        write_json(directory.path / "evaluation.json", evaluation)
        save_model(job.model, job.tokenizer, directory.path / "model", state=state)
        write_card(directory.path)
        directory.manifest(status="finished")
        write_report(directory.path)
    fit.learner.world.barrier()
    return evaluation


def _last_evaluation(directory: RunDirectory) -> dict[str, Any]:
    rows = (directory.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    last: dict[str, Any] = next((row for row in map(json.loads, reversed(rows)) if row["kind"] == "eval"), {})
    return {name: value for name, value in last.items() if isinstance(value, dict) and "mean" in value}
