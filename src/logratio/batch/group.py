"""A tokenised prompt with its K responses and the comparisons between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

Unit = str
"""What a loss term counts: "token" (scored), "response", "edge" or "group"."""

UNITS = ("token", "response", "edge", "group")


@dataclass(frozen=True, slots=True)
class Columns:
    """Named numbers beside the tokens, one array a column.

    Attributes:
        token: One value per scored token of the group, responses in order (reference log-probs, advantages, …).
        response: [K] values: `weight`, `label` (1 good, 0 bad), `score`, `mismatched` (1: borrowed),
            `text` (weight of a text that is mixed in, 0 of what is none), `win_rate` (over fresh ones of its prompt).
        edge: [C] values: `weight`, `margin`, `probability`, `tie` (0 none, 1 tie, 2 both bad).
        group: [1] values.
    """

    token: Mapping[str, Floats] = field(default_factory=dict)
    response: Mapping[str, Floats] = field(default_factory=dict)
    edge: Mapping[str, Floats] = field(default_factory=dict)
    group: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """The unit of packing, caching and sampling.

    Attributes:
        row: Index in the data set; errors and metrics name it.
        prompt: [P] token ids, P ≥ 0.
        responses: K arrays of token ids, each [L_k], L_k ≥ 1, end-of-turn token included unless truncated.
        loss: K boolean arrays [L_k]; True where the token is scored (carries loss).
        edges: [C, 2] indices (winner, loser) into `responses`.
        columns: Named values at the four levels.
    """

    row: int
    prompt: Ints
    responses: tuple[Ints, ...]
    loss: tuple[Bools, ...]
    edges: Ints
    columns: Columns = field(default_factory=Columns)

    @property
    def tokens(self) -> int:
        """Packed length: the prompt once, then every response."""
        return len(self.prompt) + sum(len(response) for response in self.responses)

    @property
    def scored(self) -> int:
        """Number of tokens that receive a log-prob; a response's first token has none where the prompt is empty."""
        return sum(int(mask.sum()) for mask in scored_masks(self))

    def with_columns(
        self,
        *,
        token: Mapping[str, Floats] | None = None,
        response: Mapping[str, Floats] | None = None,
        edge: Mapping[str, Floats] | None = None,
        group: Mapping[str, Floats] | None = None,
    ) -> Group:
        """Return the same group with columns added or replaced."""
        old = self.columns
        return replace(
            self,
            columns=Columns(
                token={**old.token, **(token or {})},
                response={**old.response, **(response or {})},
                edge={**old.edge, **(edge or {})},
                group={**old.group, **(group or {})},
            ),
        )


def scored_masks(group: Group) -> tuple[Bools, ...]:
    """Return, per response, which tokens receive a log-prob: those that carry loss and have a predecessor."""
    if len(group.prompt):
        return group.loss
    masks = []
    for mask in group.loss:
        mask = mask.copy()
        mask[:1] = False  # nothing precedes it, so no distribution predicts it
        masks.append(mask)
    return tuple(masks)
