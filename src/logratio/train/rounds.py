"""Rounds: what each of them leaves, so that it can be read, compared, and begun from again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..files import atomic_folder, write_json, write_rows
from ..models.save import save_model
from . import drawn
from .assemble import Assembled
from .drawn import Choice, Row, compared
from .finish import evaluations, measures
from .reference import describe_reference
from .values import of_model

FOLDER = "rounds"


def with_rounds(job: Assembled) -> Assembled:
    """Return a run whose rounds each leave a folder, `rounds/NUMBER`, if it has two or more (`rollout.rounds`).

    The folder holds `model/` as the round left it, which transformers loads; `evaluation.json`, measured then; where
    the objective learns from pairs, `pairs.jsonl`, rows of preferences as `--data` reads them; and `round.json`: its
    steps, its file of rollouts, and what its reference was. It is written before the round's checkpoint, whole, so
    that a run killed in between makes the round's last steps again, and the folder with them, the same.
    """
    rollout = job.opening.config.rollout
    if rollout is None or rollout.rounds is None or rollout.rounds < 2:
        return job
    phases = job.opening.phases
    leave = {phases.steps_of(number).stop: _Round(job, number).leave for number in range(phases.count)}
    return replace(job, fit=replace(job.fit, rounds=leave))


@dataclass(frozen=True)
class _Round:
    """A round, counted from 0."""

    job: Assembled
    number: int

    def leave(self) -> None:
        """Write down what the round made, from the run's state after its last step."""
        fit, phases = self.job.fit, self.job.opening.phases
        steps = phases.steps_of(self.number)
        file = drawn.file_of(fit.run.path, self.number)
        with atomic_folder(fit.run.path / name_of(self.number)) as folder:
            if fit.learner.objective.data == "pairs":
                write_rows(folder / "pairs.jsonl", self._pairs(drawn.read(file)))
            write_json(folder / "evaluation.json", measures(evaluations(fit.run)[steps.stop]))
            save_model(self.job.model, self.job.tokenizer, folder / "model", state=of_model(fit.optimizer.weights()))
            about = {
                "round": self.number + 1,
                "of": phases.count,
                "steps": [steps.start + 1, steps.stop],
                "rollouts": str(file.relative_to(fit.run.path)),
                "reference": self._reference(),
            }
            write_json(folder / "round.json", about)

    def _pairs(self, rows: list[Row]) -> list[dict[str, Any]]:
        """Return the pairs that the round learned from, as rows of preferences."""
        fit = self.job.fit
        rollout = self.job.opening.config.rollout
        assert rollout is not None
        choice = Choice.of(fit.learner.objective, fit.learner.settings, rollout)
        found = []
        for row in drawn.learned(rows):
            for (winner, loser), share in zip(*compared(row, choice.edges), strict=True):
                texts = {"chosen": row["responses"][winner], "rejected": row["responses"][loser]}
                beside = {"chosen_probability": share, "weight": row["weight"]}
                told = {name: value for name, value in beside.items() if value != 1}
                found.append({"prompt": row["prompt"], **texts, **told})
        return found

    def _reference(self) -> str | None:
        """Return what the round's log-ratios are against."""
        opening = self.job.opening
        if opening.reference is None or opening.config.reference_sync.every not in (None, "phase"):
            return opening.reference
        began = describe_reference(opening.config, self.job.model)
        alpha = opening.config.reference_sync.alpha
        if opening.config.reference_sync.every is None or self.number == 0:
            return began
        before = f"{name_of(self.number - 1)}/model, the policy as the round began"
        return before if alpha == 1 else f"{alpha:g} × {before} + {1 - alpha:g} × the reference of the round before"


def name_of(number: int) -> str:
    """Return the folder of a round, counted from 0 here and from 1 in its name."""
    return f"{FOLDER}/{number + 1:02d}"
