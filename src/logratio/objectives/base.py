"""What an objective is to the loop: settings, needs, terms, and two pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from ..batch.group import Group
from ..batch.logps import Logps
from ..batch.needs import Needs
from ..batch.packed import PackedBatch
from ..config import Leaf
from .facts import Facts
from .metrics import Metric, shared_metrics

Unit = Literal["token", "response", "edge", "group"]
Data = Literal["demonstrations", "pairs", "labels", "rankings", "prompts"]
Labelled = tuple[Sequence[Group], Mapping[str, float]]


class Settings(Leaf):
    """Base of an objective's own settings."""


@dataclass(frozen=True)
class Term:
    """One summand of the loss: c · Σᵢ wᵢ ℓᵢ / Σᵢ wᵢ over the items of one unit in the whole step.

    Attributes:
        unit: What i counts.
        coefficient: c.
        weight: Response column that holds w of tokens and responses; edges have a weight of their own, groups 1.
    """

    unit: Unit
    coefficient: float = 1.0
    weight: str = "weight"


@dataclass(frozen=True)
class Objective:
    """A registered objective. Its functions are pure: they read floats and columns, and return one value per item.

    Attributes:
        summary: One line for the table of objectives.
        formula: The loss with its reduction, one line, printed when a run opens.
        source: Paper and equation.
        data: Kind of records it learns from; "prompts" if from responses that the policy draws itself.
        settings: Its settings' type.
        terms: Settings → the terms of its loss.
        losses: (log-probs, batch, settings) → one value per item and term.
        metrics: (log-probs, batch, settings) → per-item values by name; formulas in `logratio.metrics`.
        needs: Settings → what it reads.
        state: Settings → running values before the first step, by name; the loop keeps and checkpoints them, and the
            functions find them as float64 scalars in `batch.state`. Needs scope "step".
        update: (log-probs, batch, settings) → the same values after the step, scalars; called once a step, on the whole
            of it, on detached log-probs.
        label: (groups of a whole phase of judged responses, settings, state) → (the same groups with what the losses
            read, such as `advantage`; new values of the state). Pure and deterministic, in numpy, called once a phase
            on all of it, so that nothing of the batch is left to the losses. Of the state, which begins as `state` has
            it, values that are not named stay as they are.
        rivals: Settings → λ in (0, 1] where a phase draws beside each response of the policy one of a rival to compare
            it with, token by token from softmax((1 − λ)·log π + λ·log π_ref), and marks it by 1 in the response column
            `rival` with weight 0; 0 where it draws none.
        responses: Settings → how many responses of the policy to a prompt a phase has to draw, 2 where each is measured
            against the others.
        scope: "item" if an item's loss depends on that item alone, "step" if on the whole step.
        suggests: Recipe values (dotted keys) that replace the general defaults, e.g. {"train.lr": 5e-6}.
        suggested_by: Where those come from, or where the defaults do and what is published beyond them.
        origin: File and hash, or package and version, of an objective that is not one of these; "" of one that is.
        supervised: Whether it imitates the chosen response already, so that `sft_weight` is not offered beside it.
        facts: Properties that the contract suite holds it to.
    """

    summary: str
    formula: str
    source: str
    data: Data
    settings: type[Settings]
    terms: Callable[[Any], Mapping[str, Term]]
    losses: Callable[[Logps, PackedBatch, Any], Mapping[str, Tensor]]
    metrics: Callable[[Logps, PackedBatch, Any], Mapping[str, Metric]]
    needs: Callable[[Any], Needs] = lambda settings: Needs()
    state: Callable[[Any], Mapping[str, float]] = lambda settings: {}
    update: Callable[[Logps, PackedBatch, Any], Mapping[str, Tensor]] = lambda logps, batch, settings: {}
    label: Callable[[Sequence[Group], Any, Mapping[str, float]], Labelled] = lambda groups, *others: (groups, {})
    rivals: Callable[[Any], float] = lambda settings: 0.0
    responses: Callable[[Any], int] = lambda settings: 1
    scope: Literal["item", "step"] = "item"
    suggests: Mapping[str, Any] = field(default_factory=dict)
    suggested_by: str = ""
    origin: str = ""
    supervised: bool = False
    facts: Facts = field(default_factory=Facts)

    def measured(self, logps: Logps, batch: PackedBatch, settings: Any) -> dict[str, Metric]:
        """Return its own metrics, and those that every objective with a reference has."""
        shared = shared_metrics(logps, batch) if self.needs(settings).reference else {}
        return {**shared, **self.metrics(logps, batch, settings)}
