"""`logratio label`: judge pairs by hand, blind, on a page that only this machine serves."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.types import NonNegativeFloat, NonNegativeInt, PositiveInt
from rich.console import Console

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..label.server import Server


def run(
    data: Annotated[
        list[str] | None,
        Parameter(name="DATA", help="Samples (prompt/responses), rollouts of a run, or preference data of any format."),
    ] = None,
    /,
    *,
    output: Annotated[
        Path, Parameter(name=("--output", "--out"), help="Where judgements go, and are taken up again.")
    ] = Path("labels.jsonl"),
    annotator: Annotated[
        list[str] | None, Parameter(help="Who judges; again for more. Default: asked on the page.")
    ] = None,
    model: Annotated[
        list[str] | None, Parameter(help="Draw from this run or model now; twice to compare two. Needs --prompts.")
    ] = None,
    prompts: Annotated[str | None, Parameter(help="Prompts to draw responses to.")] = None,
    max_new_tokens: Annotated[PositiveInt, Parameter(help="Length limit of a drawn response.")] = 128,
    temperature: Annotated[NonNegativeFloat, Parameter(help="Of drawn responses.")] = 1.0,
    per_prompt: Annotated[PositiveInt, Parameter(help="Pairs of a row with more than two responses.")] = 1,
    seed: Annotated[NonNegativeInt, Parameter(help="Of draws, and of which response stands first.")] = 0,
    port: Annotated[NonNegativeInt, Parameter(help="Default: a free one.")] = 0,
    open: Annotated[bool, Parameter(help="Open the page in a browser.")] = False,
    status: Annotated[Path | None, Parameter(help="Count the judgements of this file, and stop.")] = None,
) -> None:
    """Serve the page until Ctrl-C; every judgement is on disk before the next pair shows."""
    from ..label.status import status_of

    console = Console(highlight=False, markup=False, soft_wrap=True)
    if status is not None:
        _told(console, status_of(status).lines())
        return
    from ..config import DataPart
    from ..label.desk import Desk
    from ..label.drawn import drawn_file
    from ..label.items import read_tasks
    from ..label.server import Server
    from ..label.store import Store

    _check(data, model, prompts)
    if model:
        file = drawn_file(
            model,
            str(prompts),
            output,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            tell=lambda text: console.print(f"{text[:1].upper()}{text[1:]}."),
        )
        data = [str(file)]
    tasks = read_tasks([DataPart(path=name) for name in data or []], per_prompt=per_prompt, seed=seed)
    store = Store(output)
    _serve(Server(Desk(tasks, store, people=annotator or (), seed=seed), port=port), output, console, open)
    _told(console, status_of(output).lines())
    if store.rows():
        console.print(f"Train on it: logratio train --model MODEL --data {output}")


def _serve(server: Server, out: Path, console: Console, open: bool) -> None:
    """Say where the page is, and serve it until Ctrl-C."""
    with server:
        console.print(
            f"{len(server.desk.tasks):,} pairs to judge; judgements go to {out}, and are taken up from there."
        )
        console.print(f"Open {server.address}")
        console.print("Ctrl-C ends it; the same command goes on where it ended.")
        sys.stdout.flush()
        if open:
            webbrowser.open(server.address)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            console.print()


def _check(data: list[str] | None, model: list[str] | None, prompts: str | None) -> None:
    """Refuse what names nothing to judge, or too much."""
    if model and (data or prompts is None or len(model) > 2):
        raise ConfigError(
            "--model draws responses to --prompts, of one model or two, in place of DATA; give: logratio label --model "
            "A --model B --prompts FILE."
        )
    if not model and (not data or prompts is not None):
        raise ConfigError(
            "there is nothing to judge: name samples or preference data, as logratio label samples.jsonl, or "
            "--model with --prompts."
        )


def _told(console: Console, lines: list[str]) -> None:
    for line in lines:
        console.print(line)
