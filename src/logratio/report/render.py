"""A `Page` as one HTML file: no request leaves it, nothing in its data can run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from . import draw
from .kit import Block, Figure, Interval, Linked, Page, figures_of
from .text import shown, visible

_HERE = Path(__file__).parent


def render(page: Page) -> str:
    """Return the page as HTML, UTF-8 encodable.

    Text is escaped and its hidden characters spelled out, at the template engine's door rather than at each use.
    Scripts run by the hash of their content only, and the content policy forbids every request, so that a planted
    script or image could do nothing even if it got through.
    """
    figures = figures_of(page)
    scripts, drawn = [_asset("page.js")], {}
    if figures:
        embed, placeholders = draw.embed(figures)
        drawn = {id(figure): Markup(div) for figure, div in zip(figures, placeholders, strict=True)}
        scripts = [draw.runtime(), embed, *scripts]
    return str(
        _template().render(
            page=page,
            policy=_policy(scripts),
            style=Markup(_asset("page.css")),
            scripts=[Markup(script) for script in scripts],
            drawn=lambda figure: drawn[id(figure)],
        )
    )


def _policy(scripts: Sequence[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {allowed}"


def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


@cache
def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters |= {"cell": shown, "code": code, "bar": bar, "rows_of": rows_of}
    environment.tests |= {
        "linked": lambda value: isinstance(value, Linked),
        "figure": lambda value: isinstance(value, Figure),
    }
    environment.globals |= {
        name: getattr(draw, name) for name in ("across", "behind", "height", "legend", "reading", "spoken")
    }
    return environment.get_template("page.html")


def _finalize(value: Any) -> Any:
    """Spell out hidden characters in whatever a template prints; markup of the program's own passes."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else visible(value)


def code(text: str) -> Markup:
    """Return prose as markup, escaped, with what stands between `backticks` as code."""
    parts = (escape(visible(part)) for part in text.split("`"))
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))


def rows_of(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Yield runs of blocks: figures that follow each other together, every other block alone."""
    run: list[Block] = []
    for block in blocks:
        if run and not (isinstance(block, Figure) and isinstance(run[-1], Figure)):
            yield run
            run = []
        run.append(block)
    if run:
        yield run


def bar(value: Any) -> dict[str, str] | None:
    """Return where a share's interval lies, in percent of its bar; None for what has no bar."""
    if not isinstance(value, Interval) or not value.share or value.ends is None:
        return None
    low, mean, high = (f"{100 * min(max(end, 0.0), 1.0):.1f}%" for end in (value.ends[0], value.mean, value.ends[1]))
    return {"low": low, "mean": mean, "high": high}
