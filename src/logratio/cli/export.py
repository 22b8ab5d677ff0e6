"""`logratio export`: a run's model in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def run(
    run_or_model: Annotated[Path, Parameter(name="RUN", help="A run directory, or a model folder.")],
    /,
    *,
    output: Annotated[Path, Parameter(name=("--output", "--to"), help="Folder to write: new, or empty.")],
    merge: Annotated[bool, Parameter(show_default=False, help="Fold the adapter into its base.")] = False,
) -> None:
    """Write a run's model, tokenizer and template to a folder that transformers loads, and print its path."""
    from ..models.merge import export

    print(export(run_or_model, output, merge=merge))
