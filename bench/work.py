"""Necessary work of a run in floating-point operations, counted from lengths: 2 for each multiply and add.

A prompt counts once however many responses it has, and the head counts for scored response tokens only. A backward
pass is twice its forward pass. Nothing that an implementation does beyond this is useful: padding, a prompt encoded
again, logits of prompt tokens, anything recomputed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .shapes import Shape


@dataclass(frozen=True)
class Lengths:
    """Tokens of one group: its prompt and each of its responses, all of whose tokens are scored."""

    prompt: int
    responses: tuple[int, ...]

    @property
    def scored(self) -> int:
        """Response tokens."""
        return sum(self.responses)

    @property
    def unique(self) -> int:
        """Tokens with the prompt counted once."""
        return self.prompt + self.scored

    @property
    def visible(self) -> int:
        """Pairs (query, key) of causal attention: a response's token sees its prompt and its own response."""
        own = sum(n * (n + 1) // 2 for n in self.responses)
        return self.prompt * (self.prompt + 1) // 2 + self.scored * self.prompt + own


@dataclass(frozen=True)
class Work:
    """Operations of one pass over the data.

    Attributes:
        body: Products with the blocks' weights.
        head: Products with the head's weights.
        attention: Products of queries with keys and of their weights with values, which no weight enters.
    """

    body: int
    head: int
    attention: int

    @property
    def useful(self) -> int:
        """Body and head: what the share of the matrix peak is counted from; attention is listed beside it."""
        return self.body + self.head


def forward(shape: Shape, groups: Sequence[Lengths]) -> Work:
    """Return the work of scoring all responses once, as the reference pass does."""
    return Work(
        body=2 * shape.body * sum(group.unique for group in groups),
        head=2 * shape.hidden * shape.vocabulary * sum(group.scored for group in groups),
        attention=4 * shape.hidden * shape.layers * sum(group.visible for group in groups),
    )


def training(shape: Shape, groups: Sequence[Lengths]) -> Work:
    """Return the work of one epoch: forward and backward."""
    once = forward(shape, groups)
    return Work(3 * once.body, 3 * once.head, 3 * once.attention)
