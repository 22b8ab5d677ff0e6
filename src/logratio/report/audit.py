"""The page of a data audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import atomic_path
from ..findings import Finding, Level, worst
from .found import TONES, block, counted, findings_of
from .kit import Block, Code, Facts, Notice, Page, Section, Tile, Tiles
from .render import render
from .text import number, plain


def write_audit(document: Mapping[str, Any], path: Path) -> Path:
    """Write the page of an audit and return its path.

    Args:
        document: data (what was audited: a name or several), date, version, rows (how many, or counts by kind),
            seconds and findings (each as `Finding.as_json` returns it); whatever else it holds is listed as it is.
        path: The HTML file.

    Raises:
        LogratioError: The page cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(render(compose(document)), encoding="utf-8")
    return path


def compose(document: Mapping[str, Any]) -> Page:
    """Return an audit as a page."""
    problems: list[str] = []
    found = findings_of(document, problems, "audit.json")
    level = worst(found)
    telling = [own for own in found if own.level != "fine"]
    fine = [own for own in found if own.level == "fine"]
    sections = [
        Section("What was found", [block(telling, "found")] if telling else [], "What matters most comes first."),
        Section("Looked at and fine", [block(fine, "fine")] if fine else []),
        Section("How it was made", _rest(document)),
    ]
    return Page(
        title=_named(document.get("data")),
        kicker="logratio audit",
        headline=_headline(found, level),
        tone="warn" if not found else TONES[level] if level != "note" else "good",
        support=_support(found, level),
        notices=[Notice("warn", problem) for problem in problems],
        top=[Tiles(_tiles(document, found)), Facts(_facts(document))],
        sections=[section for section in sections if section.blocks],
        footer="Written by logratio. The page holds its own data and makes no request.",
    )


def _headline(found: Sequence[Finding], level: Level) -> str:
    if not found:
        return "Nothing was looked at, so this page cannot say whether the data is sound."
    names = [own.name.replace("_", " ") for own in found if own.level == level]
    listed = ", ".join(names)
    if level == "stop":
        return f"Do not train on this yet: {listed}."
    if level == "look":
        return f"Look at this before training: {listed}."
    return f"Nothing speaks against training on this data, in {len(found)} things looked at."


def _support(found: Sequence[Finding], level: Level) -> str:
    first = next((own for own in found if own.level == level and level in ("look", "stop")), None)
    return "" if first is None else f"{first.says} {first.remedy}".strip()


def _named(data: Any) -> str:
    names = data if isinstance(data, (list, tuple)) else [data]
    return ", ".join(Path(plain(name)).name or plain(name) for name in names if name) or "unnamed data"


def _tiles(document: Mapping[str, Any], found: Sequence[Finding]) -> list[Tile]:
    rows, seconds = document.get("rows"), document.get("seconds")
    if not isinstance(seconds, (int, float)):
        seconds = sum(own.seconds for own in found if own.seconds is not None)
    tiles = []
    if isinstance(rows, int):
        tiles.append(Tile("Rows", f"{rows:,}"))
    elif isinstance(rows, Mapping):
        tiles += [Tile(f"Rows, {plain(kind)}", f"{count:,}") for kind, count in rows.items() if isinstance(count, int)]
    tiles.append(Tile("Findings", str(len(found)), counted(found)))
    if seconds:
        tiles.append(Tile("Time", f"{number(round(seconds, 1))} s"))
    return tiles


def _facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    named = (("Data", "data"), ("Date", "date"), ("Version", "version"))
    return [(label, _listed(document[key])) for label, key in named if document.get(key)]


def _listed(value: Any) -> str:
    return ", ".join(map(plain, value)) if isinstance(value, (list, tuple)) else plain(value)


def _rest(document: Mapping[str, Any]) -> list[Block]:
    """Return whatever else the document holds."""
    own = {"data", "date", "version", "rows", "seconds", "findings"}
    return [Code(plain(name), plain(value)) for name, value in document.items() if name not in own and value]
