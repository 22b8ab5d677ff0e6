"""`logratio diagnose`: what a run's metrics say, in words; on request where the change is, and what was learned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from ..diagnose.run import diagnose_run, write_findings
from ..findings import LEVELS, Finding
from .found import one_line


def run(
    directory: Annotated[Path, Parameter(name="RUN", help="A run directory.")],
    /,
    *,
    where: Annotated[
        bool, Parameter(show_default=False, help="Also locate the change, layer by layer; loads the model.")
    ] = False,
    learned: Annotated[
        bool, Parameter(show_default=False, help="Also say which cues of the texts explain the held-out margins.")
    ] = False,
    everything: Annotated[
        bool, Parameter(show_default=False, name="--all", help="Also show what was looked at and is fine.")
    ] = False,
    as_json: Annotated[
        bool, Parameter(show_default=False, name="--json", help="JSON alone on standard output.")
    ] = False,
) -> None:
    """Turn a run's metrics into findings with evidence and a remedy, print them, and write findings.json.

    Levels: note (a mechanism is seen, the outcome is fine), look, stop.
    """
    found = diagnose_run(directory)
    write_findings(directory, found)
    if where:
        from ..evaluate.where import where as locate

        found += locate(directory)
    if learned:
        from ..evaluate.learned import learned as learn

        found += learn(directory)
    if as_json:
        print(json.dumps([finding.as_json() for finding in found], indent=2, allow_nan=False))
    else:
        _show(found, everything)


def _show(found: Sequence[Finding], everything: bool) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    fine = [finding for finding in found if finding.level == "fine" and finding.past is None]
    for finding in sorted(found, key=lambda finding: -LEVELS.index(finding.level)):
        if finding in fine and not everything:
            continue
        console.print(f"{finding.level:5} {finding.name}: {one_line(finding.says)}")
        if finding.remedy:
            console.print(f"      → {one_line(finding.remedy)}")
        if finding.past is not None:
            console.print(f"      {one_line(finding.past.sentence)}")
    if fine and not everything:
        named = ", ".join(finding.name for finding in fine)
        console.print(f"fine  {named} (--all shows them)")
