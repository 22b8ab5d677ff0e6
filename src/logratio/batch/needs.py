"""What an objective asks of the log-prob path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Extra = Literal["entropy", "square"]
"""Per-token quantities of the whole distribution: entropy −Σπ log π in nats, and Σπ² (both detached)."""

Head = Literal["lm", "score"]
"""What a model ends in: a distribution over the next token, or one number for a whole response (a reward model)."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Floats an objective reads beyond the policy's log-probs.

    Attributes:
        head: Which head it reads: log-probs of tokens, or a score of each response, with which it reads nothing else.
        reference: Whether it reads the reference's log-probs (token column `reference`).
        mismatched: Whether each group carries one response borrowed from another prompt (KTO's baseline).
        divergence: Whether it reads KL(π_ref ‖ π) over the vocabulary at each scored token, for which the reference
            itself has to be at hand.
        ties: Whether it learns from pairs that people called a tie (edge column `tie`); otherwise they are left out.
        margin: Whether it reads the strength of preferences (edge column `margin`), so that some must be known.
        win_rate: Whether it reads how often each fresh response wins over all of its prompt (response column
            `win_rate`); given pairs have none.
        old: Whether its `label` reads the policy's log-probs at the beginning of a phase (token column `old`); its
            losses find that column from the second step of a phase on, whatever this says.
        value: Whether it reads the value of the state before each scored token, so that the policy has a value part.
        extras: Per-token quantities of the policy's distribution.
        temperature: Divides the logits before the log-softmax; > 0.
    """

    head: Head = "lm"
    reference: bool = False
    mismatched: bool = False
    ties: bool = False
    margin: bool = False
    win_rate: bool = False
    divergence: bool = False
    value: bool = False
    old: bool = False
    extras: tuple[Extra, ...] = ()
    temperature: float = 1.0
