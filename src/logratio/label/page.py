"""The page as one text: style and script inside, and a policy under which nothing else runs or loads."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Page:
    """What the browser gets. Tasks are not in it: the script asks for them and shows them as text.

    Attributes:
        people: Names that may judge; empty for anybody's.
    """

    people: Sequence[str] = ()

    @cached_property
    def html(self) -> str:
        """The page."""
        people = escape(json.dumps(list(self.people)), quote=True)
        return (
            _asset("page.html")
            .replace("{{people}}", people)
            .replace("{{style}}", _asset("page.css"))
            .replace("{{script}}", _asset("page.js"))
        )

    @cached_property
    def policy(self) -> str:
        """Content-Security-Policy: this script, this style, questions to this server, and nothing else."""
        style, script = (f"'sha256-{_digest(_asset(name))}'" for name in ("page.css", "page.js"))
        return (
            f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
