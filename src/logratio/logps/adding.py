"""bfloat16 numbers added up in float32."""

from __future__ import annotations

from torch import Tensor

_CACHED = 1 << 19
"""Elements that are added at once on a CPU: widened ones stay in its cache."""


def add_narrow(sum_N: Tensor, more_N: Tensor) -> Tensor:
    """Add narrower numbers to wider ones in place; any equal shapes.

    Added all at once on a CPU they would be widened into memory first, which takes longer than the addition.
    """
    if sum_N.device.type != "cpu" or not (sum_N.is_contiguous() and more_N.is_contiguous()):
        return sum_N.add_(more_N)
    for part, more in zip(sum_N.view(-1).split(_CACHED), more_N.view(-1).split(_CACHED), strict=True):
        part.add_(more)
    return sum_N
