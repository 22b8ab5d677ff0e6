"""`logratio report`: a run's page, written again from its files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..report.page import write_report


def run(directory: Annotated[Path, Parameter(name="RUN", help="A run directory.")], /) -> None:
    """Write report.html into a run directory and print its path."""
    print(write_report(directory))
