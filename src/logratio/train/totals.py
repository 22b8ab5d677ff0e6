"""A step's metrics, added up where they arise and fetched once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..batch.packed import sent
from .distributed import World


@dataclass
class Totals:
    """Metrics of a step as (Σ w·v, Σ w), to be added over bins and ranks; where they arise until the step is over.

    Attributes:
        loss: Σ over terms and items of c·w·ℓ / denominator; already a share of the step's loss.
        sums: Name → [2], float64 or counts.
    """

    loss: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    sums: dict[str, Tensor] = field(default_factory=dict)

    def add(self, name: str, total: tuple[Tensor, Tensor]) -> None:
        """Add a metric's (Σ w·v, Σ w)."""
        pair = torch.stack(total)
        self.sums[name] = self.sums[name] + pair if name in self.sums else pair

    def reduce(self, world: World, names: Sequence[str]) -> dict[str, float]:
        """Return the step's means over all ranks; a metric with no item in the step is left out.

        Args:
            world: The processes.
            names: Metrics in one order on all ranks; a rank without bins has none of its own.
        """
        none = torch.zeros(2, dtype=torch.float64)
        rows = [torch.stack((self.loss, torch.ones_like(self.loss))), *(self.sums.get(name, none) for name in names)]
        table = world.total(torch.stack([sent(row, world.desk).double() for row in rows])).cpu()
        means = {name: (value / count).item() for name, (value, count) in zip(names, table[1:], strict=True) if count}
        return {"loss": table[0, 0].item(), **means}
