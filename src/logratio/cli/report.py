"""`logratio report`: the page of a run, study or win rate, written again from its files, or several runs compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

FRONTIER, WINRATE = "frontier.json", "winrate.json"
"""What tells a study's folder, and that of win rates, from a run's."""

_ABOUT_OUTPUT = (
    "Where the page goes; default: report.html in the run, frontier.html in a study's folder, winrate.html in that of "
    "win rates, comparison.html here for several."
)


def run(
    *directories: Annotated[
        Path, Parameter(name="RUN", help="What `train`, `sweep` or `winrate` wrote; several runs are compared.")
    ],
    output: Annotated[Path | None, Parameter(name=("--output", "--out"), help=_ABOUT_OUTPUT)] = None,
) -> None:
    """Write the page of a run, a study or win rates again from its files, or one that compares runs; print its path."""
    from ..errors import RunError
    from ..report.compare import write_comparison
    from ..report.page import write_report

    if not directories:
        raise RunError("no run directory was given; give the folder that `logratio train` wrote, or several.")
    if len(directories) == 1 and (directories[0] / FRONTIER).is_file():
        from ..report.frontier import write_frontier

        print(write_frontier(directories[0], target=output))
    elif len(directories) == 1 and (directories[0] / WINRATE).is_file():
        from ..report.winrate import write_winrate

        print(write_winrate(directories[0], output))
    elif len(directories) == 1:
        print(write_report(directories[0], output))
    else:
        print(write_comparison(directories, output or Path("comparison.html")))
