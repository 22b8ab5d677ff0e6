"""`logratio objectives`: the registry as a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from .. import objectives
from ..objectives.base import Objective
from ..objectives.custom import installed
from ..objectives.methods import METHODS, Method
from ..train.keys import keys, shown


def run(
    *names: Annotated[str, Parameter(help="Objectives; default: all.")],
    markdown: Annotated[bool, Parameter(show_default=False, help="Print them as a Markdown page.")] = False,
) -> None:
    """List the objectives: formula, data, needs, settings with their defaults, paper."""
    methods = {name: METHODS[name] for name in METHODS if not names or name in names}
    wanted = {
        name: objectives.load(name)
        for name in names or (*objectives.names(), *installed())
        if name in objectives.names() or name not in methods
    }
    if markdown:
        print(page(wanted, methods))
        return
    console = Console(highlight=False, markup=False)
    for name, objective in wanted.items():
        table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for title, text in _facts(objective).items():
            table.add_row(f"  {title}", text)
        console.print(f"{name}: {objective.summary}", style="bold")
        console.print(table)
        console.print()
    for name, own in methods.items():
        console.print(f"{name}: {own.about}\n  run {own.command}\n", soft_wrap=True)
    console.print("Choose one with `objective: NAME` in a recipe or --objective NAME; your own is PATH.py:FUNCTION.")


def page(wanted: Mapping[str, Objective], methods: Mapping[str, Method]) -> str:
    """Return objectives as a Markdown page, each with its formula and facts, and methods with what they are."""
    parts = [_INTRODUCTION]
    for name, objective in wanted.items():
        facts = [f"- **{title}:** {text.replace(chr(10), '; ')}" for title, text in _facts(objective).items()]
        parts += [f"## {name}", f"{objective.summary[:1].upper()}{objective.summary[1:]}.", "\n".join(facts)]
    rows = [
        f"| `{name}` | {own.about} | `{own.options}` | [{Path(own.recipe).stem}](../{own.recipe}) |"
        for name, own in methods.items()
    ]
    parts += ["## Methods by another name", _METHODS, "\n".join([*_COLUMNS, *rows])] if rows else []
    return "\n\n".join(parts)


_INTRODUCTION = """\
# Objectives

Written by `logratio objectives --markdown`, not by hand. a is the log-ratio log π(y|x)/π_ref(y|x), S the log-prob
log π(y|x), both summed over a response's scored tokens with its end-of-turn token; m = S/|y|; ⁺ is the chosen response,
⁻ the rejected one. [choosing.md](choosing.md) says what each is good for, [on-policy.md](on-policy.md) what the
gradient is of those that learn from prompts: from responses that the policy draws and a judge scores."""


_METHODS = (
    "An objective and where its data comes from; each wants a model, prompts and a judge besides, `hybrid` a run."
)
_COLUMNS = ("| method | what it is | options of `logratio train` | recipe |", "| --- | --- | --- | --- |")


def _facts(objective: Objective) -> dict[str, str]:
    needs = objective.needs(objective.settings())
    asked: list[str] = [f"{objective.data}, and a judge" if objective.data == "prompts" else objective.data]
    asked += ["as many responses of a rival"] if objective.rivals(objective.settings()) else []
    asked += ["a critic's values"] if needs.value else []
    asked += ["a scalar head (made where there is none)"] if needs.head == "score" else []
    asked += ["a reference"] if needs.reference else []
    asked += ["responses borrowed from other prompts"] if needs.mismatched else []
    asked += ["ties too"] if needs.ties else []
    asked += ["margins or scores"] if needs.margin else []
    asked += [f"{extra} of the distribution" for extra in needs.extras]
    settings = [f"{key.path} = {key.default} ({key.rule})" for key in keys(objective.settings, "objective.").values()]
    suggested = [f"{path} = {shown(value)}" for path, value in objective.suggests.items()]
    origin = f" ({objective.suggested_by})" if objective.suggested_by else ""
    return {
        "loss": objective.formula,
        "needs": ", ".join(asked),
        "scope": "each item by itself" if objective.scope == "item" else "the whole step over all processes",
        "settings": "\n".join(settings) or "none",
        "suggests": ", ".join(suggested or ["the general defaults"]) + origin,
        "source": objective.source,
    }
