"""What records become: rows of tokens, and an account of what tokenising met."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..batch.group import Bools, Floats, Ints
from ..records import Origin


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A tokenised record.

    Attributes:
        at: Index in the records that were passed.
        prompt: [P] token ids.
        responses: K arrays of token ids, each [L_k], L_k ≥ 1.
        loss: K boolean arrays [L_k]; True where the token carries loss, which holds for one that has a predecessor.
        edges: [C, 2] indices (winner, loser).
        response: Named [K] columns.
        edge: Named [C] columns.
        origin: Where the record came from.
    """

    at: int
    prompt: Ints
    responses: tuple[Ints, ...]
    loss: tuple[Bools, ...]
    edges: Ints
    response: dict[str, Floats]
    edge: dict[str, Floats]
    origin: Origin


@dataclass
class TokenTally:
    """What tokenising met, summed over rows.

    Attributes:
        counts: Name → rows, as "merged" (a boundary at which the joint tokens are not the prompt's own).
        rendered: How rows became text → rows.
        dropped: Reason → rows that cannot be learned from.
        examples: Name → the first few texts that show it.
    """

    counts: Counter[str] = field(default_factory=Counter)
    rendered: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def show(self, name: str, text: str) -> None:
        """Count one case, and keep its text if it is among the first three."""
        self.counts[name] += 1
        self.examples[name] = (self.examples.get(name, []) + [text])[:3]

    def plain(self) -> dict[str, Any]:
        """Return its content as JSON-able values."""
        return {name: dict(getattr(self, name)) for name in ("counts", "rendered", "dropped", "examples")}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> TokenTally:
        """Return the tally that `plain` gave."""
        counters = {name: Counter(values[name]) for name in ("counts", "rendered", "dropped")}
        return cls(**counters, examples=dict(values["examples"]))

    def add(self, other: TokenTally) -> None:
        """Add another tally to this one."""
        self.counts += other.counts
        self.rendered += other.rendered
        self.dropped += other.dropped
        for name, texts in other.examples.items():
            self.examples[name] = (self.examples.get(name, []) + texts)[:3]
