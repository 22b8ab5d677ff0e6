"""What an objective asks of the log-prob path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Extra = Literal["entropy", "square"]
"""Per-token quantities of the whole distribution: entropy −Σπ log π in nats, and Σπ² (both detached)."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Floats an objective reads beyond the policy's log-probs.

    Attributes:
        reference: Whether it reads the reference's log-probs (token column `reference`).
        mismatched: Whether each group carries one response borrowed from another prompt (KTO's baseline).
        extras: Per-token quantities of the policy's distribution.
        temperature: Divides the logits before the log-softmax; > 0.
    """

    reference: bool = False
    mismatched: bool = False
    extras: tuple[Extra, ...] = ()
    temperature: float = 1.0
