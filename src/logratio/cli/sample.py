"""`logratio sample`: policy and reference answer the same prompts with the same random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.types import NonNegativeFloat, NonNegativeInt, PositiveInt
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ..errors import ConfigError
from ..report.text import visible

_ABOUT_OUTPUT = "Write the policy's samples here, as `logratio label` reads them, and show none."


def run(
    run_or_model: Annotated[str, Parameter(name="RUN_OR_MODEL", help="A run directory, model folder or hub name.")],
    /,
    *,
    prompt: Annotated[
        list[str] | None, Parameter(help="A prompt; give the option again for more. Default: the run's.")
    ] = None,
    data: Annotated[
        list[str] | None, Parameter(help="Prompts of files of any format; responses beside them are not read.")
    ] = None,
    output: Annotated[Path | None, Parameter(name=("--output", "--out"), help=_ABOUT_OUTPUT)] = None,
    reference: Annotated[
        str | None, Parameter(help="start, base, a folder or hub name; default: the run's own.")
    ] = None,
    k: Annotated[
        PositiveInt | None, Parameter(name="--k", help="Samples a prompt; default: 1, 2 with --output, 4 with --best.")
    ] = None,
    max_new_tokens: Annotated[PositiveInt, Parameter(help="Length limit of a response.")] = 128,
    temperature: Annotated[NonNegativeFloat, Parameter(help="0 takes the likeliest token.")] = 1.0,
    seed: Annotated[NonNegativeInt, Parameter(help="Of the samples.")] = 0,
    worst: Annotated[
        PositiveInt | None, Parameter(help="With --output: of all prompts, only so many, those to judge next.")
    ] = None,
    by: Annotated[
        Literal["judge", "margin", "disagreement"] | None,
        Parameter(help="Which come first: lowest score, smallest implicit-reward margin, or two judges at odds."),
    ] = None,
    best: Annotated[
        bool, Parameter(negative=(), help="With --output: of a prompt's k samples the one the judge scores highest.")
    ] = False,
    judge: Annotated[
        list[str] | None, Parameter(help="With --best or --by: a judge, as `logratio eval` takes it.")
    ] = None,
) -> None:
    """Show the policy's samples beside the reference's, or write them to a file."""
    console = Console(highlight=False, markup=False)
    settings: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}

    tell = partial(_tell, console)
    if prompt and data:
        raise ConfigError("prompts are named twice, by --prompt and by --data; keep one of them.")
    if output is not None:
        if reference is not None:
            raise ConfigError(
                "--output writes the policy's samples alone, so --reference says nothing there; leave it out."
            )
        from .samples import Wanted, questions_of, write

        write(run_or_model, questions_of(prompt, data), output, Wanted(best, worst, by, judge or ()), k, settings, tell)
        return
    if worst or by or best or judge:
        raise ConfigError("--worst and --best choose what goes into a file; name it with --output.")
    from ..evaluate.sample import side_by_side

    prompts: Any = prompt
    if data:
        from .samples import questions_of

        prompts = [question.record.prompt for question in questions_of(None, data)]
    _show(console, side_by_side(run_or_model, prompts, reference=reference, tell=tell, k=k or 1, **settings))


def _tell(console: Console, text: str) -> None:
    console.print(f"{text}.", soft_wrap=True)


def _show(console: Console, rows: Sequence[dict[str, Any]]) -> None:
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
