"""`logratio objectives`: the registry as a table."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from .. import objectives
from ..objectives.base import Objective
from ..objectives.custom import installed
from ..train.keys import keys, shown


def run() -> None:
    """List the objectives: formula, data, needs, settings with their defaults, paper."""
    console = Console(highlight=False, markup=False)
    for name in (*objectives.names(), *installed()):
        objective = objectives.load(name)
        table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for title, text in _facts(objective).items():
            table.add_row(f"  {title}", text)
        console.print(f"{name}: {objective.summary}", style="bold")
        console.print(table)
        console.print()
    console.print("Choose one with `objective: NAME` in a recipe or --objective NAME; your own is PATH.py:FUNCTION.")


def _facts(objective: Objective) -> dict[str, str]:
    needs = objective.needs(objective.settings())
    asked: list[str] = [objective.data]
    asked += ["a reference"] if needs.reference else []
    asked += ["responses borrowed from other prompts"] if needs.mismatched else []
    asked += ["ties too"] if needs.ties else []
    asked += ["margins or scores"] if needs.margin else []
    asked += [f"{extra} of the distribution" for extra in needs.extras]
    settings = [f"{key.path} = {key.default} ({key.rule})" for key in keys(objective.settings, "objective.").values()]
    suggested = [f"{path} = {shown(value)}" for path, value in objective.suggests.items()]
    return {
        "loss": objective.formula,
        "needs": ", ".join(asked),
        "scope": "each item by itself" if objective.scope == "item" else "the whole step over all processes",
        "settings": "\n".join(settings) or "none",
        "suggests": ", ".join(suggested) or "the general defaults",
        "source": objective.source,
    }
