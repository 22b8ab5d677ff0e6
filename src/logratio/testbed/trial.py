"""One run in a world, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import objectives
from ..maths.intervals import Measure
from ..train.api import Run, train
from .build import Built, Say, finished, progress
from .lexicon import Size
from .measure import Answers, answers, compared
from .world import Split


@dataclass(frozen=True)
class Aim:
    """What is minimised in a world, and how fast.

    Attributes:
        objective: Its name and settings.
        lr: Peak learning rate.
        epochs: Passes over the rows.
        batch_size: Groups a step.
    """

    objective: Mapping[str, Any]
    lr: float
    epochs: float = 1.0
    batch_size: int = 32


QUICKSTART: dict[Size, Aim] = {
    "nano": Aim({"name": "dpo", "beta": 0.1}, lr=5e-4),
    "small": Aim({"name": "dpo", "beta": 0.1}, lr=2e-4),
}
"""What `logratio quickstart` does."""

_OTHERS: dict[str, Aim] = {
    "sft": Aim({}, lr=3e-3, epochs=3.0),
    "kto": Aim({"beta": 0.3}, lr=3e-4),
    "orpo": Aim({"weight": 1.0}, lr=2e-3),
    "cpo": Aim({"beta": 0.5, "alpha": 0.3}, lr=2e-3),
    "slic": Aim({"delta": 3.0, "weight": 0.5}, lr=1e-3),
    "rrhf": Aim({}, lr=2e-3),
    "alphapo": Aim({}, lr=5e-4),
    "unlikelihood": Aim({"alpha": 0.5}, lr=1e-3),
}


def rows_for(built: Built, name: str, split: Split = "train") -> Iterator[dict[str, Any]]:
    """Yield what the world's judge says, as the kind of data that an objective learns from: pairs, or rankings."""
    objective = objectives.load(name)
    scored = objective.data == "rankings" or objective.needs(objective.settings()).margin
    yield from built.ranked(split) if scored else built.judged(built.world.reward, split)


def aim(name: str) -> Aim:
    """Return how an objective is run in the nano world: its defaults at lr 1e-3, unless it needs something else."""
    own = _OTHERS.get(name, Aim({}, lr=1e-3))
    return Aim({"name": name, **own.objective}, own.lr, own.epochs, own.batch_size)


@dataclass(frozen=True)
class Trial:
    """A run and what came of it.

    Attributes:
        run: The run directory with the trained model.
        after: Its answers at held-out prompts.
        measures: What they are like (`Answers.measures`) and what changed (`compared`).
    """

    run: Run
    after: Answers
    measures: Mapping[str, Measure] = field(repr=False)


def trial(
    built: Built,
    before: Answers,
    rows: Iterable[Mapping[str, Any]],
    *,
    output: Path,
    goal: Aim | None = None,
    say: Say = lambda line: None,
) -> Trial:
    """Train the world's model on preference rows and let it answer the held-out prompts.

    Args:
        built: The world.
        before: The reference's answers to them.
        rows: Preferences: `prompt`, `chosen`, `rejected`, or `prompt`, `responses`, `scores`.
        output: Run directory.
        goal: What is minimised; default: as the quickstart does on this size.
        say: Told what is being done.
    """
    goal, seed = goal or QUICKSTART[built.world.size], built.world.seed
    settings = ", ".join(f"{name} {value}" for name, value in goal.objective.items() if name != "name")
    say(f"{goal.objective['name']}, {settings or 'default settings'}; run directory {output}")
    run = train(
        built.model,
        list(rows),
        goal.objective,
        eval_data=list(rows_for(built, goal.objective["name"], "held_out")),
        output=output,
        on_event=progress(say),
        train={
            "lr": goal.lr,
            "epochs": goal.epochs,
            "batch_size": goal.batch_size,
            "seed": seed,
            "precision": "fp32",
        },
        eval={"max_new_tokens": built.world.scale.response},
        every={"eval": 0.25, "checkpoint": 1.0},
    )
    after = answers(built, finished(run).model, seed=seed + 2)
    return Trial(run, after, {**after.measures(), **compared(built, after, before)})
