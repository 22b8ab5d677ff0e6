"""What one metric is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Where = Literal["step", "held out", "samples", "texts", "end"]
"""Measured in every training step, on held-out data, on the policy's own samples, on texts to retain, or at the end."""


@dataclass(frozen=True)
class Metric:
    """What one metric is.

    Attributes:
        label: Its name for people.
        formula: How it is computed.
        unit: Its unit: `share` (counted) and `probability` (averaged) lie in [0, 1]; "1" is none; `of the objective` is
            whatever its loss is in.
        where: On what it is measured; every training step, if nothing is said.
    """

    label: str
    formula: str
    unit: str
    where: tuple[Where, ...] = ("step",)

    @property
    def share(self) -> bool:
        """Whether it is a share in [0, 1], of items that are counted."""
        return self.unit == "share"
