"""What is known of a loss, and what the contract suite therefore holds it to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from ..batch.packed import PackedBatch

Shift = Literal["policy", "reference"]
"""A constant added to the summed log-prob of every response of a group, under the one or the other."""

Curve = Literal["decreasing", "minimum"]


@dataclass(frozen=True)
class Facts:
    """Declared properties; a property that is not declared is shown not to hold.

    Attributes:
        at_reference: (batch, settings) → each term's value per item where π = π_ref; for losses that read Σπ², where
            each token moreover is as probable as the distribution expects, π(y_t) = Σπ². None where no reference is
            read.
        invariant: Shifts that leave every loss as it is.
        lost: Settings → those of them that do not hold at these settings.
        curve: How the loss of a pair goes with its margin h = a⁺ − a⁻ where a⁺ = −a⁻, a = log π/π_ref (without a
            reference: where both responses are equally long and a = log π): strictly decreasing (flat where it has
            underflowed), or with one finite minimum. None for losses of other things than pairs, or of another shape.
        minimum: Settings → that h.
        swap: Settings → k where ℓ(h) − ℓ(−h) = −k·h; None at settings where the difference is not linear.
        variants: Settings beside the defaults at which everything is checked too, one mapping each: every choice that
            takes another branch.
        detached: Whether the loss holds policy values without gradient (a weight, an adaptive β), so that its gradient
            is not its slope; the objective's own tests then state what the gradient is.
        population: Whether the loss has a form for weighted items, so that finite worlds can minimise it; a sort or a
            running average over a batch has one only in the limit.
    """

    at_reference: Callable[[PackedBatch, Any], Mapping[str, Tensor | float]] | None = None
    invariant: frozenset[Shift] = frozenset()
    lost: Callable[[Any], frozenset[Shift]] = lambda settings: frozenset()
    curve: Curve | None = None
    minimum: Callable[[Any], float] | None = None
    swap: Callable[[Any], float | None] | None = None
    variants: tuple[Mapping[str, Any], ...] = ()
    detached: bool = False
    population: bool = True

    def shifts(self, settings: Any) -> frozenset[Shift]:
        """Return the shifts that leave every loss as it is at these settings."""
        return self.invariant - self.lost(settings)


PAIRWISE: frozenset[Shift] = frozenset({"policy", "reference"})
"""Only the difference between a pair's log-ratios counts."""
