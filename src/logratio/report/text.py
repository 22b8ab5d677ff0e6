"""Text and numbers as a page shows them: every character visible, every number with a sensible width."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from .kit import Cell, Interval, Linked

# C0 and C1 controls but tab and newline, directional marks, overrides and isolates, invisible spaces, separators,
# lone surrogates, fillers without a shape, interlinear anchors, tag characters, supplementary variation selectors and
# noncharacters: what could hide or reorder other text.
# Zero-width (non-)joiners stay: scripts and emoji need them.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
    "\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f\U000e0100-\U000e01ef]"
)


def visible(text: str) -> str:
    """Return `text` with each control, directional, surrogate or invisible character spelled as ⟨U+XXXX⟩.

    A page so written cannot be reordered by a direction override, and always encodes as UTF-8. Carriage returns
    before a newline are dropped.
    """
    return _HIDDEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text.replace("\r\n", "\n"))


def plain(value: Any) -> str:
    """Return any JSON value as text: strings as they are, chat turns as `role: content`, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(turn, Mapping) and "role" in turn for turn in value):
        return "\n".join(f"{turn['role']}: {plain(turn.get('content') or '')}" for turn in value)
    return json.dumps(value, ensure_ascii=False)


def number(value: float) -> str:
    """Return a number with at most four significant digits; very small or large ones in powers of ten."""
    if not math.isfinite(value):
        return str(value)
    value += 0.0  # −0 is 0
    if value and not 1e-3 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.2e}".split("e")
        text = f"{float(mantissa):g}e{int(exponent)}"
    elif float(value).is_integer() or abs(value) >= 1e4:
        text = f"{value:,.0f}"
    else:
        text = f"{value:,.{3 - math.floor(math.log10(abs(value)))}f}".rstrip("0").rstrip(".")
    return text.replace("-", "\u2212")


def spread(mean: float, low: float, high: float) -> tuple[str, str, str]:
    """Return a mean and the ends of its interval with the digits that its width supports: two of its half-width."""
    half = (high - low) / 2
    if not 1e-4 < half < 1e4:
        return number(mean), number(low), number(high)
    digits = max(0, 1 - math.floor(math.log10(half)))
    shown = [f"{value:,.{digits}f}" for value in (mean, low, high)]
    zero = f"{0:.{digits}f}"
    mean_text, low_text, high_text = (zero if text == f"-{zero}" else text.replace("-", "\u2212") for text in shown)
    return mean_text, low_text, high_text


def percent(share: float) -> str:
    """Return a share in [0, 1] as a percentage with one decimal."""
    return f"{100 * share:.1f}\u202f%" if math.isfinite(share) else str(share)


def shown(value: Cell) -> str:
    """Return a table cell as text: an interval as `mean [low, high]`, None as a dash."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, Linked):
        return value.text
    if not isinstance(value, Interval):
        return number(value)
    if value.ends is None:
        return percent(value.mean) if value.share else number(value.mean)
    ends = (value.mean, *value.ends)
    mean, low, high = (percent(end) for end in ends) if value.share else spread(*ends)
    return f"{mean} [{low}, {high}]"
