"""Measures as cells of a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..report.text import number, spread


def cells(value: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return mean, interval and count of a measure as text; a dash where there is none."""
    mean, low, high = (value[name] if value[name] is not None else math.nan for name in ("mean", "low", "high"))
    if math.isnan(mean):
        return "–", "", f"{value['n']:,}"
    if math.isnan(low) or math.isnan(high):
        return number(mean), "", f"{value['n']:,}"
    middle, left, right = spread(mean, low, high)
    return middle, f"{left} … {right}", f"{value['n']:,}"
