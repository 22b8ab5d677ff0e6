"""`logratio sweep`: runs over a grid of values, compared in one table and on one page."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter
from rich.console import Console

from ..errors import ConfigError
from ..train.events import Listener
from ..train.recipe import read
from .app import DONE, INPUT, INTERRUPTED
from .train import options_of, signature

_MAIN = Group.create_ordered("Sweep", sort_key=0)
_ABOUT_RECIPE = "A YAML file with a recipe, as for `logratio train`."
_ABOUT_GRID = "A key with the values that it takes; give the option again for another key: all combinations are run."
_ABOUT_OUTPUT = "The folder that holds the runs; default: runs/sweep-<name of the recipe>."
_ABOUT_QUICK = "Run the short form of a study, as its recipe describes it."
_ABOUT_RESUME = "Go on with the sweep in this folder, as it was asked for."


def run(
    *words: Annotated[str, Parameter(name="RECIPE", help=_ABOUT_RECIPE, allow_leading_hyphen=True)],
    grid: Annotated[
        tuple[str, ...], Parameter(help=_ABOUT_GRID, metavar="KEY=V,V", group=_MAIN, show_default=False)
    ] = (),
    output: Annotated[Path | None, Parameter(help=_ABOUT_OUTPUT, metavar="FOLDER", group=_MAIN)] = None,
    resume: Annotated[Path | None, Parameter(help=_ABOUT_RESUME, metavar="FOLDER", group=_MAIN)] = None,
    quick: Annotated[bool, Parameter(help=_ABOUT_QUICK, negative="", group=_MAIN)] = False,
    **options: Any,
) -> int:
    """Train by a recipe once for each combination of values, and return the exit code.

    `words` and `options` are as those of `logratio train`.
    """
    recipe, overrides = options_of(words, options)
    from ..sweep.record import Given, given_of

    if resume is not None:
        if recipe or overrides or grid or output or quick:
            raise ConfigError(
                f"--resume {resume} goes on with that sweep as it was asked for, so nothing else can be given; drop it."
            )
        given, folder = given_of(resume), resume
    else:
        document = {} if recipe is None else read(recipe)
        given = Given(document, overrides, grid)
        folder = output or Path(document.pop("output", None) or _folder(recipe))
    if "study" in given.recipe:
        return _study(given, folder, quick=quick)
    if quick:
        raise ConfigError("--quick is the short form of a study, and this recipe has no `study`; drop it.")
    return _sweep(given, folder)


def _study(given: Any, folder: Path, *, quick: bool) -> int:
    """Run a study: methods × settings × seeds."""
    from ..sweep.conduct import run_study
    from ..sweep.frontier import FRONTIER, lines
    from ..sweep.record import Given
    from ..sweep.study import plan, study_of

    if given.grids or given.overrides:
        raise ConfigError(
            "a study says in its recipe in what its runs differ, so neither --grid nor a key can be given beside it; "
            "write them there."
        )
    document = dict(given.recipe)
    study = study_of(document, quick=quick)
    assert study is not None
    console, began = Console(highlight=False, markup=False, soft_wrap=True), time.monotonic()

    def say(line: str) -> None:
        console.print(f"{time.monotonic() - began:5.0f} s  {line}")

    given = Given({**document, "study": study.model_dump(mode="json", exclude_unset=True)}, {}, ())  # --quick applied
    world = None
    if study.world is not None:
        from ..testbed.frontier import study_folder

        world = study_folder(study.world.size, study.world.seed, say=say)
    swept = run_study(given, plan(document, study, folder, world), folder, say=say)
    console.print("\nReward at equal KL, the best setting of each method, 95 % intervals:\n")
    for line in lines(json.loads((folder / FRONTIER).read_text(encoding="utf-8"))):
        console.print(line)
    console.print(f"\nwritten: {folder / FRONTIER}; {folder / 'frontier.html'} shows it.")
    return _ended(swept, folder)


def _folder(recipe: Path | None) -> Path:
    return Path("runs") / (f"sweep-{recipe.stem}" if recipe else "sweep")


def _sweep(given: Any, folder: Path) -> int:
    from ..sweep import table
    from ..sweep.runs import sweep

    console = Console(highlight=False, markup=False, soft_wrap=True)
    swept = sweep(given, folder, listening=_Telling(console, folder))
    console.print()
    for line in table.lines(swept.runs, console.width):
        console.print(line)
    units = [table.UNITS] if table.differ_in_objective(swept.runs) else []
    for caution in [*units, *table.cautions(swept.runs, folder)]:
        console.print(f"\nnote: {caution}")
    for entry in swept.runs:
        if entry["status"] == "failed":
            console.print(f"\nfailed: {table.called(entry)}: {entry['error']}")
    console.print(f"\nwritten: {folder / 'sweep.json'}; {folder / 'sweep.html'} shows the comparison.")
    return _ended(swept, folder)


def _ended(swept: Any, folder: Path) -> int:
    """Say how to go on, where that is needed, and return the exit code."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if swept.status == "interrupted":
        console.print(f"go on with: logratio sweep --resume {folder}")
    elif swept.status == "failed":
        console.print(f"what failed is tried again by: logratio sweep --resume {folder}")
    return {"finished": DONE, "failed": INPUT, "interrupted": INTERRUPTED}[swept.status]


class _Telling:
    """Tells of each run which one it is, and then as `logratio train` does."""

    def __init__(self, console: Console, folder: Path) -> None:
        self._console, self._folder = console, folder

    @contextmanager
    def __call__(self, cell: Any, entry: Any, number: int, of: int) -> Iterator[Listener]:
        from ..sweep.table import called
        from .progress import ProgressLines

        self._console.print(f"\n— run {number} of {of}: {called(entry)} — {self._folder / cell.name}\n")
        with ProgressLines(passes=False) as progress:
            yield progress


vars(run)["__signature__"] = signature(run)
