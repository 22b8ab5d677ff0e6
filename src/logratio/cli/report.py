"""`logratio report`: a run's page, written again from its files, or several runs compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

FRONTIER = "frontier.json"
"""What tells a study's folder from a run's."""


def run(
    *directories: Annotated[Path, Parameter(name="RUN", help="A run directory; several are compared on one page.")],
    output: Annotated[
        Path | None,
        Parameter(
            name=("--output", "--out"),
            help="Where the page goes; default: report.html in the run, frontier.html in a study's folder, "
            "comparison.html here for several.",
        ),
    ] = None,
) -> None:
    """Write the page of a run or of a study again from its files, or one that compares runs, and print its path."""
    from ..errors import RunError
    from ..report.compare import write_comparison
    from ..report.page import write_report

    if not directories:
        raise RunError("no run directory was given; give the folder that `logratio train` wrote, or several.")
    if len(directories) == 1 and (directories[0] / FRONTIER).is_file():
        from ..report.frontier import write_frontier

        print(write_frontier(directories[0], target=output))
    elif len(directories) == 1:
        print(write_report(directories[0], output))
    else:
        print(write_comparison(directories, output or Path("comparison.html")))
