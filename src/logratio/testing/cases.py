"""Inputs on which an objective is checked, and its total loss on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..batch.group import Group
from ..batch.logps import Logps
from ..batch.packed import PackedBatch, pack
from ..objectives.base import Objective, Settings
from .worlds import KINDS, random_groups, with_edges, with_rivals


@dataclass(frozen=True)
class Case:
    """An objective with settings, on a batch in float64.

    Attributes:
        objective: What is checked.
        settings: Its settings.
        groups: The batch's groups.
    """

    objective: Objective
    settings: Settings
    groups: Sequence[Group]

    @cached_property
    def batch(self) -> PackedBatch:
        """The groups as one batch, with the objective's running values as before the first step."""
        initial = self.objective.state(self.settings)
        return pack(self.groups).with_state({name: torch.tensor(value).double() for name, value in initial.items()})

    @cached_property
    def logp_R(self) -> Tensor:
        """Log-probs around the reference's, float64 nats, below 0."""
        draw = torch.Generator().manual_seed(1)
        noise_R = torch.randn(len(self.batch.target_R), generator=draw, dtype=torch.float64)
        return (self.batch.token["reference"].double() + noise_R).clamp(max=-0.05)

    def logps(self, logp_R: Tensor, *, typical: bool = False) -> Logps:
        """Return log-probs with what else the objective needs.

        A score is the sum of its response's values, which then are no log-probs; reading one as such yields NaN.
        Entropy, Σπ² and a critic's values are as of a plausible model; the divergence from the reference vanishes
        there.

        Args:
            logp_R: Log-probs, nats.
            typical: Whether each token is as probable as the distribution expects its draws to be, π(y_t) = Σπ².
        """
        needs = self.objective.needs(self.settings)
        if needs.head == "score":
            return Logps(torch.full_like(logp_R, torch.nan), score_S=self.batch.sum_by_response(logp_R))
        extras = needs.extras
        detached_R = logp_R.detach()
        return Logps(
            logp_R,
            entropy_R=1.5 - 0.1 * detached_R if "entropy" in extras else None,
            divergence_R=0.1 * (logp_R - self.batch.token["reference"]).square() if needs.divergence else None,
            value_R=0.3 * logp_R if needs.value else None,
            square_R=((1.0 if typical else 0.9) * detached_R).exp() if "square" in extras else None,
        )

    def losses(self, logp_R: Tensor, batch: PackedBatch | None = None) -> dict[str, Tensor]:
        """Return each term's losses per item at the given log-probs."""
        return dict(self.objective.losses(self.logps(logp_R), batch or self.batch, self.settings))

    def total(self, logp_R: Tensor, batch: PackedBatch | None = None) -> Tensor:
        """Return Σ over terms and items of c·ℓ, each item by a weight of its own, borrowed responses by 0."""
        terms = self.objective.terms(self.settings)
        parts = [
            terms[name].coefficient * (self._weights(loss, terms[name].unit) * loss).sum()
            for name, loss in self.losses(logp_R, batch).items()
        ]
        return torch.stack(parts).sum()

    def _weights(self, loss: Tensor, unit: str) -> Tensor:
        weights = torch.linspace(1, 2, len(loss), dtype=loss.dtype)
        return weights * (self.batch.response["weight"] > 0) if unit == "response" else weights

    def shifted(self, logp_R: Tensor, by_S: Tensor) -> Tensor:
        """Return log-probs whose sum over each response is larger by `by_S`, spread evenly over its tokens."""
        return logp_R + (by_S / self.batch.length_S.double()).index_select(0, self.batch.response_R)

    def at(self, reference_R: Tensor) -> Case:
        """Return the same case with other reference log-probs, [R]."""
        return self.on(self.batch.with_token(reference=reference_R))

    def on(self, batch: PackedBatch) -> Case:
        """Return the same case with changes to its batch."""
        other = Case(self.objective, self.settings, self.groups)
        other.__dict__["batch"] = batch
        return other

    def following(self, logp_R: Tensor) -> dict[str, Tensor]:
        """Return the running values after a step at the given log-probs."""
        return dict(self.objective.update(self.logps(logp_R.detach()), self.batch, self.settings))

    def later(self) -> Case:
        """Return the same case with running values as after two steps, of which the second moved the policy further."""
        once = self.on(self.batch.with_state(self.following(self.logp_R)))
        return self.on(self.batch.with_state(once.following(1.3 * self.logp_R)))


def case(objective: Objective, settings: Settings, *, n: int = 6, seed: int = 2, **changes: Any) -> Case:
    """Return a case of `n` random groups of the objective's kind of data."""
    groups = random_groups(n, seed=seed, **{**KINDS[objective.data], **changes})
    if objective.needs(settings).ties:  # none, tie and both bad in turn
        groups = [with_edges([group], tie=float(number % 3))[0] for number, group in enumerate(groups)]
    if objective.rivals(settings):
        groups = with_rivals(groups)
    return labelled(objective, settings, groups)


def labelled(
    objective: Objective, settings: Settings, groups: Sequence[Group], state: Mapping[str, float] | None = None
) -> Case:
    """Return a case of groups with what the objective's label puts beside them; a label replaces an earlier one."""
    return Case(objective, settings, objective.label(groups, settings, state or objective.state(settings))[0])


def variants(objective: Objective) -> list[Settings]:
    """Return the default settings and each of the objective's declared other choices."""
    return [objective.settings(**values) for values in ({}, *objective.facts.variants)]


def even_pairs(objective: Objective, settings: Settings, h: Tensor) -> tuple[Case, Tensor]:
    """Return pairs of equally long responses and log-probs at which their margins are `h`, a⁺ = −a⁻ = h/2.

    Where no reference is read, log π stands for a, at a level of −60 nats.
    """
    groups = [_even(group) for group in random_groups(len(h), k=2, scores=objective.data == "rankings")]
    made = Case(objective, settings, groups)
    level_R = torch.full((len(made.batch.target_R),), -15.0, dtype=torch.float64)
    sign_S = torch.where(torch.arange(made.batch.responses) % 2 == 0, 0.5, -0.5)
    made = made.at(level_R)
    return made, made.shifted(level_R, sign_S * h.repeat_interleave(2))


def _even(group: Group) -> Group:
    length = 4
    response = tuple(tokens[:1].repeat(length) for tokens in group.responses)
    mask = tuple(torch.ones(length, dtype=torch.bool).numpy() for _ in group.responses)
    bare = replace(group, responses=response, loss=mask, columns=replace(group.columns, token={}))
    return bare.with_columns(
        token={"reference": torch.zeros(2 * length).numpy()},
        edge={"margin": torch.zeros(len(group.edges)).numpy()},
    )
