"""`logratio sample`: policy and reference answer the same prompts with the same random numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.types import NonNegativeFloat, NonNegativeInt, PositiveInt
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ..errors import ConfigError
from ..report.text import visible

if TYPE_CHECKING:
    from ..evaluate.draw import Question


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
    out: Annotated[
        Path | None, Parameter(help="Write the policy's samples here, as `logratio label` reads them, and show none.")
    ] = None,
    reference: Annotated[
        str | None, Parameter(help="start, base, a folder or hub name; default: the run's own.")
    ] = None,
    k: Annotated[PositiveInt, Parameter(name="--k", help="Samples a prompt.")] = 1,
    max_new_tokens: Annotated[PositiveInt, Parameter(help="Length limit of a response.")] = 128,
    temperature: Annotated[NonNegativeFloat, Parameter(help="0 takes the likeliest token.")] = 1.0,
    seed: Annotated[NonNegativeInt, Parameter(help="Of the samples.")] = 0,
) -> None:
    """Show the policy's samples beside the reference's, or write them to a file."""
    console = Console(highlight=False, markup=False)
    settings: dict[str, Any] = {"k": k, "max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}

    def tell(text: str) -> None:
        console.print(f"{text}.", soft_wrap=True)

    if prompt and data:
        raise ConfigError("prompts are named twice, by --prompt and by --data; keep one of them.")
    if out is not None:
        _write(run_or_model, prompt, data, reference, out, settings, tell)
        return
    from ..evaluate.sample import side_by_side

    prompts = [question.record.prompt for question in _questions(data)] if data else prompt
    _show(console, side_by_side(run_or_model, prompts, reference=reference, tell=tell, **settings))


def _write(
    run_or_model: str,
    prompt: list[str] | None,
    data: list[str] | None,
    reference: str | None,
    out: Path,
    settings: dict[str, Any],
    tell: Callable[[str], None],
) -> None:
    """Write one row a prompt with its k samples."""
    from ..evaluate.draw import asked, draw, rows_of
    from ..files import write_rows

    if reference is not None:
        raise ConfigError("--out writes the policy's samples alone, so --reference says nothing there; leave it out.")
    if not prompt and not data:
        raise ConfigError("--out needs prompts to write samples of; name them with --data FILE or --prompt TEXT.")
    questions = _questions(data) if data else asked(prompt or [])
    write_rows(out, rows_of(questions, [run_or_model], [draw(run_or_model, questions, tell=tell, **settings)]))
    tell(
        f"{settings['k'] * len(questions):,} samples of {len(questions):,} prompts are in {out}; judge them with: "
        f"logratio label {out}"
    )


def _questions(data: list[str]) -> list[Question]:
    from ..config import DataPart
    from ..evaluate.draw import read_questions

    return read_questions([DataPart(path=path) for path in data])


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
