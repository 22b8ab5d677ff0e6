"""Which script a letter belongs to, by Unicode's blocks."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

TOP = 0x20000
"""Code points below have entries in the tables; those above are Han up to `HAN_END`, else none."""

HAN_END = 0x33480

RANGES: dict[str, tuple[tuple[int, int], ...]] = {
    "Latin": ((0x41, 0x24F), (0x1E00, 0x1EFF), (0x2C60, 0x2C7F), (0xA720, 0xA7FF), (0xFF21, 0xFF5A)),
    "Greek": ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "Cyrillic": ((0x400, 0x52F), (0x1C80, 0x1C8F), (0xA640, 0xA69F)),
    "Armenian": ((0x530, 0x58F),),
    "Hebrew": ((0x590, 0x5FF), (0xFB1D, 0xFB4F)),
    "Arabic": ((0x600, 0x6FF), (0x750, 0x77F), (0x8A0, 0x8FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFE)),
    "Devanagari": ((0x900, 0x97F), (0xA8E0, 0xA8FF)),
    "Bengali": ((0x980, 0x9FF),),
    "Gurmukhi": ((0xA00, 0xA7F),),
    "Gujarati": ((0xA80, 0xAFF),),
    "Tamil": ((0xB80, 0xBFF),),
    "Telugu": ((0xC00, 0xC7F),),
    "Kannada": ((0xC80, 0xCFF),),
    "Malayalam": ((0xD00, 0xD7F),),
    "Sinhala": ((0xD80, 0xDFF),),
    "Thai": ((0xE00, 0xE7F),),
    "Lao": ((0xE80, 0xEFF),),
    "Tibetan": ((0xF00, 0xFFF),),
    "Myanmar": ((0x1000, 0x109F),),
    "Georgian": ((0x10A0, 0x10FF), (0x1C90, 0x1CBF), (0x2D00, 0x2D2F)),
    "Hangul": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xA97F), (0xAC00, 0xD7FF)),
    "Ethiopic": ((0x1200, 0x139F), (0x2D80, 0x2DDF)),
    "Khmer": ((0x1780, 0x17FF),),
    "Mongolian": ((0x1800, 0x18AF),),
    "Kana": ((0x3041, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9D)),
    "Han": ((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF)),
}

NAMES: tuple[str, ...] = (*RANGES, "other script")
"""Scripts by number; the last one stands for all that have no name here."""

UNSPACED = ("Thai", "Lao", "Tibetan", "Myanmar", "Khmer", "Kana", "Han")
"""Scripts written without spaces between words."""

OTHER = len(NAMES) - 1
_HAN = NAMES.index("Han")
_KANA = NAMES.index("Kana")
_JAPANESE = 0.05


@cache
def script_table() -> NDArray[np.uint8]:
    """Return the script's number of every code point below `TOP`, letter or not, uint8 [TOP]."""
    table = np.full(TOP, OTHER, np.uint8)
    for number, ranges in enumerate(RANGES.values()):
        for first, last in ranges:
            table[first : last + 1] = number
    return table


def script_of(point_P: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return the script's number of each code point, uint8 [P]."""
    low = script_table()[np.minimum(point_P, TOP - 1)]
    return np.where(point_P < TOP, low, np.where(point_P < HAN_END, _HAN, OTHER)).astype(np.uint8)


def main_script(count_NS: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each text's main script from its letters per script, int64 [N]; −1 for a text without letters.

    Han with a little kana is Japanese, which counts as Kana.
    """
    counts = count_NS.copy()
    both = counts[:, _HAN] + counts[:, _KANA]
    japanese = (counts[:, _KANA] > 0) & (counts[:, _KANA] >= _JAPANESE * both)
    counts[:, _KANA] = np.where(japanese, both, counts[:, _KANA])
    counts[:, _HAN] = np.where(japanese, 0, counts[:, _HAN])
    return np.where(counts.sum(1) > 0, counts.argmax(1), -1)
