"""`logratio audit`: what is wrong with preference data, what it rewards, and a cleaned copy of it."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..config import RowsConfig
from ..errors import ConfigError
from ..files import write_json
from ..findings import LEVELS, Finding, worst
from .found import one_line

if TYPE_CHECKING:
    from ..audit.run import Audited

_STYLES = {"stop": "bold red", "look": "yellow", "note": "cyan", "fine": "green"}


def run(
    *data: Annotated[str, Parameter(name="DATA", help="Files, folders or hub names.")],
    eval_data: Annotated[
        tuple[str, ...],
        Parameter(
            show_default=False, help="What will be evaluated on: say what of it stands in DATA; may be repeated."
        ),
    ] = (),
    model: Annotated[
        str | None, Parameter(help="Also say what this model makes of the responses: a folder or hub name.")
    ] = None,
    fix: Annotated[
        Path | None, Parameter(help="Write a cleaned copy to this new .jsonl file, and a log of changes beside it.")
    ] = None,
    output: Annotated[
        Path | None,
        Parameter(
            name=("--output", "--out"), help="Folder for audit.json and audit.html; default: audits/<date>-<data>."
        ),
    ] = None,
    map: Annotated[
        tuple[str, ...],
        Parameter(show_default=False, help="FIELD=PATH, where columns have other names; may be repeated."),
    ] = (),
) -> None:
    """Look for faults in preference data of any format; say what each means and what to do."""
    if not data:
        raise ConfigError("no data is named, so there is nothing to look at; name it, as: logratio audit pairs.jsonl")
    if fix is not None and fix.exists():
        raise ConfigError(f"--fix {fix} exists, and what is there stays; name a new file.")
    if fix is not None and fix.suffix != ".jsonl":
        raise ConfigError(f"--fix is {fix}, and rows are written one a line; end the name in .jsonl.")
    config = RowsConfig(map=dict(_assignment(text) for text in map))
    from ..audit.run import audit  # after the checks, since it takes a second to import

    console = Console(stderr=True, highlight=False)
    loaded = None
    if model is not None:
        from ..models.load import load_model

        loaded = load_model(model, frozen=True)
    with console.status("") as status:
        own = audit(
            data,
            eval_data=eval_data or None,
            model=loaded,
            config=config,
            say=lambda what: status.update(f"[dim]{what}[/dim]"),
        )
    _show(own)
    folder = output or Path("audits") / f"{datetime.date.today():%Y-%m-%d}-{_stem(data)}"
    for path in _written(own, folder):
        print(one_line(str(path)))
    if fix is not None:
        from ..audit.repair import repair

        lines = repair(data, fix, own.rows, own.alike, own.held, own.held_alike).lines()
        print("\n".join(one_line(line) for line in (str(fix), *lines)))


def _assignment(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not equals:
        raise ConfigError(f'--map "{text}" has no "="; write --map chosen=path.in.row.')
    return name, path


def _stem(data: Sequence[str]) -> str:
    return Path(data[0].partition(":")[0].rstrip("/")).name.partition(".")[0] or "data"


def _written(own: Audited, folder: Path) -> list[Path]:
    from ..report.audit import write_audit

    document = own.document()
    write_json(folder / "audit.json", document)
    write_audit(document, folder / "audit.html")
    return [folder / "audit.json", folder / "audit.html"]


def _show(own: Audited) -> None:
    """Print the findings, those that matter most first."""
    console = Console(highlight=False, markup=False)
    document = own.document()
    for file, name in own.rows.report.formats.items():
        console.print(one_line(f"{file}: {name}"), soft_wrap=True)
    counts = {level: sum(found.level == level for found in own.findings) for level in reversed(LEVELS)}
    said = ", ".join(f"{count} {level}" for level, count in counts.items() if count)
    console.print(f"{own.rows.count:,} rows, {len(own.findings)} findings in {document['seconds']:.1f} s: {said}\n")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for found in sorted(own.findings, key=lambda found: -LEVELS.index(found.level)):
        table.add_row(Text(found.level, _STYLES[found.level]), one_line(found.name.replace("_", " ")), _said(found))
    console.print(table)
    if worst(own.findings) == "stop":
        console.print("\nstop: training on this data, or evaluating with it, would mislead; see to that first.")


def _said(found: Finding) -> str:
    remedy = f"\n→ {one_line(found.remedy)}" if found.remedy and found.level in ("look", "stop") else ""
    return f"{one_line(found.says)}{remedy}"
