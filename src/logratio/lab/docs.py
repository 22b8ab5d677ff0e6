"""Tables in documents that are generated, never typed: what stands between two marks is replaced."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import RunError
from ..files import atomic_path


def replace_block(document: Path, name: str, text: str) -> None:
    """Put `text` between `<!-- NAME -->` and `<!-- /NAME -->` of a Markdown file.

    Raises:
        RunError: The file holds no such pair of marks.
    """
    before, _, after = _parts(document, name)
    with atomic_path(document) as temporary:
        temporary.write_text(f"{before}\n{text}\n\n{after}", encoding="utf-8")


def block(document: Path, name: str) -> str:
    """Return what stands between the marks, without the blank lines around it."""
    return _parts(document, name)[1].strip()


def _parts(document: Path, name: str) -> tuple[str, str, str]:
    """Return a document up to and with the first mark, between both, and from the second on."""
    pattern = rf"(.*<!-- {re.escape(name)} -->\n)(.*)(<!-- /{re.escape(name)} -->.*)"
    found = re.fullmatch(pattern, document.read_text(encoding="utf-8"), re.DOTALL)
    if found is None:
        raise RunError(f"{document} holds no block <!-- {name} --> … <!-- /{name} -->; add the two marks, one a line.")
    return found[1], found[2], found[3]
