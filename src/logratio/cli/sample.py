"""`logratio sample`: policy and reference answer the same prompts with the same random numbers."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.types import NonNegativeFloat, NonNegativeInt, PositiveInt
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ..report.text import visible


def run(
    run_or_model: Annotated[str, Parameter(name="RUN_OR_MODEL", help="A run directory, model folder or hub name.")],
    /,
    *,
    prompt: Annotated[
        list[str] | None, Parameter(help="A prompt; give the option again for more. Default: the run's.")
    ] = None,
    reference: Annotated[
        str | None, Parameter(help="start, base, a folder or hub name; default: the run's own.")
    ] = None,
    k: Annotated[PositiveInt, Parameter(name="--k", help="Samples a prompt.")] = 1,
    max_new_tokens: Annotated[PositiveInt, Parameter(help="Length limit of a response.")] = 128,
    temperature: Annotated[NonNegativeFloat, Parameter(help="0 takes the likeliest token.")] = 1.0,
    seed: Annotated[NonNegativeInt, Parameter(help="Of the samples.")] = 0,
) -> None:
    """Show the policy's samples beside the reference's."""
    from ..evaluate.sample import side_by_side

    console = Console(highlight=False, markup=False)
    rows = side_by_side(
        run_or_model,
        prompt,
        reference=reference,
        k=k,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        tell=lambda text: console.print(f"{text}.", soft_wrap=True),
    )
    for row in rows:
        console.print(Rule(style="dim"))
        console.print(Text(visible(row["prompt"]), style="bold"))
        table = Table(box=None, pad_edge=False, padding=(1, 4, 0, 0), expand=True)
        table.add_column("policy", ratio=1, overflow="fold")
        if row["reference"] is not None:
            table.add_column("reference", ratio=1, overflow="fold")
        sides = [row["policy"]] + ([row["reference"]] if row["reference"] is not None else [])
        for samples in zip(*sides, strict=True):
            table.add_row(*map(_told, samples))
        console.print(table)


def _told(sample: dict[str, Any]) -> Text:
    """Return a sample's text and length; a response that the limit cut off ends in an ellipsis."""
    count = f"  ({sample['tokens']} tokens)"
    return Text.assemble(visible(sample["text"]), "" if sample["ended"] else " …", (count, "dim"))
