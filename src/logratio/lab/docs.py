"""Tables in documents are generated, never typed: a document says what it shows, the laboratory fills it in."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from ..errors import RunError
from ..files import atomic_path
from .table import fill
from .text import markdown

MARKS = re.compile(r"(<!-- lab(?P<words>(?: [^>\n]*)?) -->\n)(?P<table>.*?)(<!-- /lab -->)", re.DOTALL)
"""`<!-- lab OBJECTIVE … --regime NAME … -->`, what `logratio lab` prints for these words, `<!-- /lab -->`."""


def update(document: Path) -> int:
    """Fill in every table of a Markdown file; return how many there are.

    Raises:
        RunError: It has none.
        ConfigError: A mark names an objective or regime that does not exist.
    """
    text = document.read_text(encoding="utf-8")
    updated, count = MARKS.subn(lambda match: f"{match[1]}\n{table(match['words'])}\n\n{match[4]}", text)
    if not count:
        raise RunError(f"{document} has no <!-- lab … --> and <!-- /lab --> to fill a table in between; add them.")
    with atomic_path(document) as temporary:
        temporary.write_text(updated, encoding="utf-8")
    return count


def tables(document: Path) -> list[tuple[str, str]]:
    """Return the words and the present content of every table of a document."""
    found = MARKS.finditer(document.read_text(encoding="utf-8"))
    return [(match["words"].strip(), match["table"].strip()) for match in found]


def table(words: str) -> str:
    """Return the table for the words of a mark."""
    names: list[str] = []
    regimes: list[str] = []
    into = names
    for word in shlex.split(words):
        if word == "--regime":
            into = regimes
        else:
            into.append(word)
            into = names
    return markdown(fill(names, regimes, sizes=not regimes))
