"""`logratio quickstart`: the whole thing at work, in a world whose reward is known exactly."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import NonNegativeInt


def run(
    *,
    full: Annotated[bool, Parameter(show_default=False, help="Run the controls too.")] = False,
    seed: Annotated[NonNegativeInt, Parameter(help="Another seed: other numbers, the same conclusion.")] = 0,
) -> None:
    """Build a world, align a model in it, and print what changed and what that does not show."""
    from ..testbed.quickstart import main

    main(full=full, seed=seed)
