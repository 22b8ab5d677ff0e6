"""`logratio check`: what training looks for before its first step, by itself."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from ..findings import worst
from ..train.recipe import resolve
from .app import DONE, INPUT
from .train import ABOUT_RECIPE, MAIN, options_of, signature

_ABOUT_FULL = "Make every check, whatever it takes; otherwise they have 60 s or 2 % of the run, at least 10 s."


def run(
    *words: Annotated[str, Parameter(name="RECIPE", help=ABOUT_RECIPE, allow_leading_hyphen=True)],
    full: Annotated[bool, Parameter(help=_ABOUT_FULL, group=MAIN, show_default=False)] = False,
    **options: Any,
) -> int:
    """Look at data, model, reference and gradient as `train` does before its first step; 2 where something is wrong.

    `words` and `options` are those of `train`.
    """
    resolved = resolve(*options_of(words, options))
    from ..train import distributed  # after the recipe's checks, since they take seconds to import
    from ..train.preflight.subject import check
    from .progress import ProgressLines

    with ProgressLines() as progress:
        found = check(resolved, full=full, listeners=[progress])
    distributed.stop()
    return INPUT if worst(found) == "stop" else DONE


vars(run)["__signature__"] = signature(run)
