"""A JSON list, element by element: only one element is in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator

# JSON allows no raw line break in a string, so one ends a string whose closing quote is missing.
_IN_STRING = re.compile(r'["\n]|\\.?', re.DOTALL)
_OUTSIDE = re.compile(r'["\[\]{},:]')

LIMIT = 1 << 24
"""Most characters of one element or CSV cell: a missing quote must not draw the rest of a file into memory."""


class Window:
    """A window that slides over JSON text which arrives in pieces."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        self._text = ""
        self._at = 0

    def _filled(self) -> bool:
        """Return whether there is text left, after moving to the next piece where this one is used up."""
        while self._at == len(self._text):
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._text, self._at = piece, 0
        return True

    def peek(self) -> str:
        """Return the next character that is no white space, without passing it; empty at the end."""
        while self._filled():
            rest = self._text[self._at :].lstrip()
            self._at = len(self._text) - len(rest)
            if rest:
                return rest[0]
        return ""

    def until(self, stops: str, *, keep: bool = True) -> tuple[str, str]:
        """Pass the next of `stops`, or the next unmatched closing bracket, outside strings and brackets.

        Args:
            stops: Structural characters, from ``[ ] { } , :``.
            keep: Whether to return the text; what is skipped costs no memory.

        Returns:
            The text before it (empty unless kept), and the character; the empty string at the end of the text, or
            where more than `LIMIT` characters precede it.
        """
        parts: list[str] = []
        size = 0
        depth, in_string, escaped = 0, False, False
        while self._filled():
            start = self._at
            self._at += escaped
            escaped = False
            while found := (_IN_STRING if in_string else _OUTSIDE).search(self._text, self._at):
                mark, self._at = found.group(), found.end()
                if in_string:
                    in_string = mark[0] == "\\"
                    escaped = mark == "\\"  # what it escapes is in the next piece
                elif depth == 0 and (mark in stops or mark in "]}"):
                    parts.append(self._text[start : found.start()] if keep else "")
                    return "".join(parts), mark
                elif mark == '"':
                    in_string = True
                else:
                    depth += (mark in "[{") - (mark in "]}")
            self._at = len(self._text)
            if keep:
                parts.append(self._text[start:])
                size += self._at - start
                if size > LIMIT:
                    break
        return "".join(parts), ""


def elements(window: Window) -> Iterator[str | None]:
    """Yield the text of each element of the list that the window has just entered; None where the list breaks off."""
    if window.peek() == "]":
        window.until("]")
        return
    stop = ","
    while stop == ",":
        text, stop = window.until(",]")
        yield text if stop in (",", "]") else None
