"""A NaN or an infinity is found in the step that has it, and named, without waiting for the device in between."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..batch.packed import PackedBatch
from ..errors import NonFiniteError
from .source import Step


@dataclass
class Finite:
    """What of a step has turned out finite, noted where it arises and looked at once.

    Attributes:
        step: The step.
    """

    step: Step
    _noted: list[tuple[str, torch.dtype, Tensor, PackedBatch]] = field(default_factory=list)

    def note(self, name: str, values: Tensor, batch: PackedBatch) -> None:
        """Note values of a bin: one a scored token, one a response, or a single one."""
        self._noted.append((name, values.dtype, torch.isfinite(values.detach()), batch))

    def check(self) -> None:
        """Look at everything noted.

        Raises:
            NonFiniteError: A value is NaN or infinite; names step, tensor and rows, of the first bin that has one.
        """
        if not self._noted:
            return
        fine = torch.stack([good.all() for _, _, good, _ in self._noted]).tolist()
        if all(fine):
            return
        name, dtype, good, batch = self._noted[fine.index(False)]
        raise NonFiniteError(
            f"step {self.step.index + 1}: {name} is not finite in {dtype}, data rows {_rows(good, batch)[:20]}; "
            "no weight was updated: lower train.lr, leave these rows out, or under bf16 use train.precision fp32."
        )


def _rows(good: Tensor, batch: PackedBatch) -> list[int]:
    """Return the data rows of values that are not finite; all of the bin's for a single value."""
    rows, bad = batch.row_G.cpu(), ~good.cpu()
    if len(bad) == batch.responses:
        rows = rows[batch.spans.group_S[bad].unique()]
    elif len(bad) == len(batch.response_R):
        rows = rows[batch.spans.group_S[batch.response_R.cpu()[bad].unique()].unique()]
    return [int(row) for row in rows]
