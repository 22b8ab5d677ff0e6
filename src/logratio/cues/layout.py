"""Layout: lists, headings, emphasis, code, tables, links and paragraphs, as Markdown and plain text write them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .chars import Numbers

_BULLET = re.compile(r"^[ \t]*[-*+•‣▪●·–][ \t]+\S", re.MULTILINE)
_NUMBERED = re.compile(r"^[ \t]*(?:\(?\d{1,3}[.)、．]|[一二三四五六七八九十]{1,3}、)(?!\d)", re.MULTILINE)
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+\S", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
_CODE = re.compile(r"(?<!`)`[^`\n]+`(?!`)")
_TABLE = re.compile(r"^[ \t]*\|.*\|[ \t]*$", re.MULTILINE)
_LINK = re.compile(r"https?://|\]\([^)\s]+\)")
_PARAGRAPH = re.compile(r"\n[ \t]*\n")


def layout_cues(texts: Sequence[str]) -> Mapping[str, Numbers]:
    """Return log(1 + n) of what each text holds, each [N]. A sign that must be there is looked for first."""
    return {f"{name} (log)": _counts(texts, sign, count) for name, (sign, count) in _KINDS.items()}


def _counts(texts: Sequence[str], signs: str, count: Callable[[str], int]) -> Numbers:
    found = (count(text) if not signs or any(sign in text for sign in signs) else 0 for text in texts)
    return np.log1p(np.fromiter(found, np.float64, len(texts)))


def _of(pattern: re.Pattern[str]) -> Callable[[str], int]:
    return lambda text: sum(1 for _ in pattern.finditer(text))


def _code_blocks(text: str) -> int:
    """Return how many fences open; one that is never closed counts too."""
    return (len(_FENCE.findall(text)) + 1) // 2


_KINDS: dict[str, tuple[str, Callable[[str], int]]] = {
    "list items": ("-*+•‣▪●·–", _of(_BULLET)),
    "numbered items": (".)、．", _of(_NUMBERED)),
    "headings": ("#", _of(_HEADING)),
    "bold passages": ("*_", _of(_BOLD)),
    "code blocks": ("`~", _code_blocks),
    "code in a line": ("`", _of(_CODE)),
    "table rows": ("|", _of(_TABLE)),
    "links": ("/(", _of(_LINK)),
    "paragraph breaks": ("\n", _of(_PARAGRAPH)),
}
