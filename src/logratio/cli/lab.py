"""`logratio lab`: every objective in every regime, where the right answer is known."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from ..files import atomic_path
from ..lab import docs, text
from ..lab.page import compose
from ..lab.table import Lab, fill
from ..report.render import render

GAP = 2


def run(
    *objectives: Annotated[str, Parameter(help="Objectives; default: all.")],
    regime: Annotated[tuple[str, ...], Parameter(help="Only this regime; may be repeated.")] = (),
    as_json: Annotated[bool, Parameter(name="--json", show_default=False, help="Print JSON alone.")] = False,
    markdown: Annotated[bool, Parameter(show_default=False, help="Print the table in Markdown alone.")] = False,
    page: Annotated[Path | None, Parameter(help="Write a page with plots to this file.")] = None,
    update: Annotated[tuple[Path, ...], Parameter(help="Fill in the tables of this Markdown file, and end.")] = (),
) -> None:
    """Minimise objectives over all policies of small worlds, and say what that has to do with the truth."""
    for document in update:
        print(f"{document}: {docs.update(document)} tables")
    if update:
        return
    quiet = as_json or markdown
    err = Console(stderr=True, highlight=False)
    with err.status("") as status:
        lab = fill(objectives, regime, sizes=not regime, say=lambda label: status.update(f"[dim]{label}[/dim]"))
    if page is not None:
        with atomic_path(page) as temporary:
            temporary.write_text(render(compose(lab)), encoding="utf-8")
    if as_json:
        json.dump(lab.document(), sys.stdout, ensure_ascii=False, indent=2)
        print()
    elif markdown:
        print(text.markdown(lab))
    if not quiet:
        _show(lab, page)


def _show(lab: Lab, page: Path | None) -> None:
    console = Console(highlight=False, markup=False)
    rows = [text.header(lab), *text.lines(lab)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    at = 1
    while at < len(widths):  # as many columns side by side as the terminal holds
        end = at + 1
        while end < len(widths) and widths[0] + sum(width + GAP for width in widths[at : end + 1]) <= console.width:
            end += 1
        for row in rows:
            console.print("".join([row[0].ljust(widths[0]), *(row[i].rjust(widths[i] + GAP) for i in range(at, end))]))
        console.print()
        at = end
    for line in text.LEGEND:
        console.print(line)
    for column in lab.columns:
        console.print(f"{column.title}: {column.about}")
    console.print(f"\n{len(lab.cells)} cells in {lab.seconds:.0f} s." + (f" Page: {page}" if page else ""))
