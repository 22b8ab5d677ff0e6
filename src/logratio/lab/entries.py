"""The rows of the table: objectives with the settings they have in the laboratory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import objectives
from ..errors import ConfigError
from ..exact.comparisons import Comparisons
from ..exact.population import Population, compared, duels, labelled
from ..exact.world import World, policy
from ..objectives.base import Objective, Settings

FURTHER: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "dpo, ε 0.1": ("dpo", {"label_smoothing": 0.1}),
    "dpo + sft": ("dpo", {"sft_weight": 1.0}),
}
"""Rows beside one for each objective: label → name, settings."""


@dataclass(frozen=True)
class Entry:
    """An objective with its settings.

    Attributes:
        label: Name of the row.
        name: Of the objective.
        objective: As registered.
        settings: β = 1 wherever a reference is read, so that the optimum is that of E r − KL; τ = 1; else the defaults.
    """

    label: str
    name: str
    objective: Objective
    settings: Settings

    @property
    def scaled(self) -> bool:
        """Whether its margin is β·(a⁺ − a⁻) of sequence sums, so that it can be read as a log-odds."""
        objective = self.objective
        return objective.needs(self.settings).reference and "policy" in objective.facts.shifts(self.settings)

    def population(self, world: World, comparisons: Comparisons) -> Population:
        """Return the comparisons as the kind of data that the objective learns from."""
        kind = self.objective.data
        if kind == "labels":
            good, bad = comparisons.good(*world.shape), comparisons.bad(*world.shape)
            return labelled(world, good, bad, mismatched=self.objective.needs(self.settings).mismatched)
        return duels(world, comparisons) if kind == "rankings" else compared(world, comparisons)

    def loss(self, data: Population, logits_XY: Tensor) -> Tensor:
        """Return Σ_k c_k · mean of ℓ_k over the population, scalar."""
        logps = data.logps(policy(logits_XY))
        terms = self.objective.terms(self.settings)
        losses = self.objective.losses(logps, data.batch, self.settings)
        parts = [terms[name].coefficient * data.mean(loss, terms[name].unit) for name, loss in losses.items()]
        return torch.stack(parts).sum()


def entries(names: tuple[str, ...] = ()) -> list[Entry]:
    """Return the rows of these objectives, in the order of their names; of all that have one, if none is named.

    No row have those without a population form, and those that read a token's whole distribution, which a table over
    responses does not have.

    Raises:
        ConfigError: A named objective does not exist, or has no row.
    """
    rows = [_entry(name, name, {}) for name in sorted(set(names or objectives.names()))]
    kept = [row for row in rows if row.objective.facts.population and not row.objective.needs(row.settings).extras]
    if names and len(kept) < len(rows):
        without = ", ".join(row.name for row in rows if row not in kept)
        raise ConfigError(
            f"{without}: a loss that depends on more than weighted items, or on a token's whole distribution, has no "
            "optimum over tables of responses; leave it out of logratio lab."
        )
    named = {row.name for row in kept}
    return kept + [_entry(label, name, values) for label, (name, values) in FURTHER.items() if name in named]


def _entry(label: str, name: str, values: Mapping[str, Any]) -> Entry:
    objective = objectives.load(name)
    fields = objective.settings.model_fields
    reference = objective.needs(objective.settings()).reference
    chosen: dict[str, Any] = {key: 1.0 for key in ("beta", "tau") if key in fields and reference}
    return Entry(label, name, objective, objective.settings(**{**chosen, **values}))
