"""What `evaluate` returns: a dict of measures that a notebook shows as a table, and its way there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..report import notebook


class Evaluation(dict[str, Any]):
    """Measures by name, each {mean, low, high, n, se}, and `about`; JSON-able as any dict."""

    def _repr_html_(self) -> str:
        about = self.get("about", {})
        against = f", against {about['reference']}" if about.get("reference") else ""
        groups = f", {about['groups']:,} groups" if "groups" in about else ""
        said = notebook.text(f"{about.get('model', '')}{against}{groups}")
        return f"<div>{said}</div>{notebook.measures(self)}"


def stages(of: int) -> Callable[[str], None]:
    """Return a function that is told what begins, at most `of` times, and then "measured"; a notebook shows a bar."""
    put, done = notebook.live(), iter(range(of))

    def tell(what: str) -> None:
        if put is not None:
            put(notebook.progress(what, of if what == "measured" else next(done), of))

    return tell
