"""`logratio init`: a commented recipe for a model and a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..errors import ConfigError
from ..files import atomic_path
from ..report.text import visible

_ABOUT_OBJECTIVE = "What is minimised; default: what fits the data (dpo, kto or sft)."


def run(
    model: Annotated[str, Parameter(name="MODEL", help="A model's folder or hub name.")],
    data: Annotated[list[str], Parameter(name="DATA", help="Files, folders or hub data sets.", negative=())],
    /,
    *,
    objective: Annotated[str | None, Parameter(help=_ABOUT_OBJECTIVE)] = None,
    eval_data: Annotated[str | None, Parameter(help="What to evaluate on; default: a share is held out.")] = None,
    output: Annotated[
        Path, Parameter(name=("--output", "--out"), help="The recipe to write; an existing file stays.")
    ] = Path("recipe.yaml"),
) -> None:
    """Look at a model and at data, and write a recipe that trains the one on the other as it stands."""
    if output.suffix not in (".yaml", ".yml"):
        raise ConfigError(
            f"--output is {output}, but a recipe's name ends in .yaml; write --output {output.name}.yaml."
        )
    if output.exists():
        raise ConfigError(
            f"{output} exists, and what you wrote there stays; name another file with --output, or remove it."
        )
    from ..train.propose import propose

    made = propose(model, data, objective=objective, eval_data=eval_data, output=f"runs/{output.stem}")
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(output) as temporary:
        temporary.write_text(made.recipe, encoding="utf-8")
    for line in made.lines:
        print(visible(line))
    print(f"\n{made.recipe}\nwritten to {output}; look at it, then:  logratio train {output}")
