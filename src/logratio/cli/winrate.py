"""`logratio winrate`: models answer the same prompts, a judge compares, and what it said is worth is told."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.types import NonNegativeInt, PositiveInt
from rich.console import Console
from rich.table import Table

from ..errors import ConfigError
from ..files import read_rows
from ..report.doubts import doubts
from ..report.text import number, percent, plain, visible

LISTED = 10
"""Lost and won prompts that are shown."""

_WIDE = 60
"""Characters of a prompt or model that are shown."""

_ABOUT_JUDGE = "module:function, the folder of a reward model or run, or a .yaml file of a recipe's judge."
_ABOUT_FAILURE = "Where there is no verdict: leave the pair out and count it, or stop."
_ABOUT_BY = "Field of the prompts to tell rates apart by; default: category, where there is one."
_ABOUT_DIFFICULTY = "Field of the prompts, a number, to control for beside length."
_ABOUT_OUTPUT = "Folder for results; default: winrates/<A>-<B>."
_ABOUT_JSON = "JSON alone on standard output."

_ROWS = (
    ("rate", "win rate, ties ½"),
    ("controlled", "  at equal length (LC)"),
    ("matched", "  of answers equally long"),
    ("flips", "the order changes the winner"),
    ("shown_first", "shown first preferred"),
    ("longer", "longer preferred"),
    ("both_bad", "both bad"),
)


def run(
    *models: Annotated[
        str, Parameter(name="MODEL", help="Two or more: a run, a model folder or hub name, or a file of answers.")
    ],
    prompts: Annotated[str, Parameter(help="File, folder or hub name; other fields of a row go to the judge.")],
    judge: Annotated[str, Parameter(help=_ABOUT_JUDGE)],
    on_failure: Annotated[Literal["skip", "stop"], Parameter(help=_ABOUT_FAILURE)] = "skip",
    k: Annotated[PositiveInt, Parameter(name="--k", help="Answers a prompt.")] = 1,
    temperature: Annotated[str, Parameter(help="0 takes the likeliest token; several, as 0,0.5,1, for a sweep.")] = "1",
    max_new_tokens: Annotated[PositiveInt, Parameter(help="Length limit of an answer.")] = 128,
    limit: Annotated[PositiveInt | None, Parameter(help="Take the first so many prompts; default: all.")] = None,
    by: Annotated[str | None, Parameter(help=_ABOUT_BY)] = None,
    difficulty: Annotated[str | None, Parameter(help=_ABOUT_DIFFICULTY)] = None,
    seed: Annotated[NonNegativeInt, Parameter(help="Of answers and intervals.")] = 0,
    output: Annotated[Path | None, Parameter(name=("--output", "--out"), help=_ABOUT_OUTPUT)] = None,
    as_json: Annotated[bool, Parameter(show_default=False, name="--json", help=_ABOUT_JSON)] = False,
) -> None:
    """Compare models by a judge: win rate with interval, at equal length, in both orders, and who ranks where.

    Answers and judgements are kept in the output folder. The same command again draws and asks only what is missing.
    """
    heats = _heats(temperature)
    from ..rollout.judges import judge_named, open_judge  # after the checks, since opening may load a model

    asked = open_judge(judge_named(judge).model_copy(update={"on_failure": on_failure}))
    from ..evaluate.winrate.api import winrate

    folder = output or Path("winrates") / "-".join(_stem(name) for name in models)
    with Console(stderr=True, highlight=False, markup=False).status("") as status:
        result = winrate(
            models,
            prompts,
            asked,
            out=folder,
            k=k,
            temperature=heats,
            max_new_tokens=max_new_tokens,
            limit=limit,
            by=by,
            difficulty=difficulty,
            on_failure=on_failure,
            seed=seed,
            say=lambda line: status.update(visible(line)),
        )
    _tell(folder, result, as_json)


def _tell(folder: Path, result: Mapping[str, Any], as_json: bool) -> None:
    """Write the page, and print the figures, or all of them as JSON."""
    from ..report.winrate import write_winrate

    page = write_winrate(folder)
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False))  # escaped: names and categories are data
    else:
        _show(result, read_rows(folder / "duels.jsonl"))
        print(f"\n{page}")


def _heats(text: str) -> list[float]:
    """Return the temperatures of a list such as 0,0.5,1.

    Raises:
        ConfigError: One of them is no number of 0 or more.
    """
    try:
        heats = [float(part) for part in text.split(",")]
    except ValueError:
        heats = [math.nan]
    if not all(0 <= heat < math.inf for heat in heats):
        raise ConfigError(f"--temperature is {text}, must be numbers of 0 or more, as 1 or 0,0.5,1.")
    return heats


def _stem(name: str) -> str:
    return Path(name.rstrip("/")).name.partition(".jsonl")[0] or "model"


def _show(result: Mapping[str, Any], duels: Sequence[Mapping[str, Any]]) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"judge: {visible(result['judge'])}")
    console.print(f"{result['prompts']:,} prompt{'s' * (result['prompts'] != 1)}")
    for own in result["at"]:
        console.print(f"\ntemperature {own['temperature']:g}" if len(result["at"]) > 1 else "")
        for pair in own["pairs"]:
            _pair(console, pair)
        if len(result["models"]) > 2:
            _ranking(console, own)
    if len(result["models"]) == 2 and len(result["at"]) == 1:
        _listed(console, result["at"][0]["pairs"][0], duels)


def _pair(console: Console, pair: Mapping[str, Any]) -> None:
    console.print(f"{_short(pair['a'])}  over  {_short(pair['b'])}")
    equal = f" ({pair['same']} of them equal texts)" if pair["same"] else ""
    failed = f", {pair['failed']} without a verdict, left out" if pair["failed"] else ""
    console.print(f"{pair['wins']} won, {pair['ties']} tied{equal}, {pair['losses']} lost{failed}")
    if pair["length_a"] is not None:
        console.print(f"characters an answer: {number(pair['length_a'])} and {number(pair['length_b'])}")
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("", no_wrap=True)
    for title in ("mean", "95 % interval", "n"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, title in _ROWS:
        measure = pair[name]
        if measure is not None and measure["n"] and (name != "both_bad" or measure["mean"]):
            table.add_row(title, *_cells(measure))
    for kind, measure in list(pair["categories"].items())[:LISTED]:
        table.add_row(f"  {_short(kind)}", *_cells(measure))
    console.print()
    console.print(table)
    if len(pair["categories"]) > LISTED:
        console.print(f"  {len(pair['categories']) - LISTED} more categories on the page")
    for doubt in doubts(pair):
        console.print(f"warning: {doubt}")


def _ranking(console: Console, own: Mapping[str, Any]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title in ("rank", "model", "Elo", "95 % interval", "rank, 95 %"):
        table.add_column(title, justify="left" if title == "model" else "right")
    for place in own["ranking"]:
        points = place["points"]
        ends = "" if points["low"] is None else f"{points['low']:.0f} … {points['high']:.0f}"
        ranks = f"{place['best']}–{place['worst']}"
        table.add_row(str(place["rank"]), _short(place["model"]), f"{points['mean']:.0f}", ends, ranks)
    console.print()
    console.print(table)
    for cycle in own["cycles"]:
        sure = "and by the intervals too" if cycle["sure"] else "though within the intervals' doubt"
        told = " beats ".join(_short(name) for name in (*cycle["models"], cycle["models"][0]))
        console.print(f"no ranking shows this cycle: {told} ({sure})")
    console.print(f"largest gap between a win rate and what the ranking says: {percent(own['misfit'])}")


def _listed(console: Console, pair: Mapping[str, Any], duels: Sequence[Mapping[str, Any]]) -> None:
    """List prompts that were lost, then some that were won: what got worse is not hidden behind a mean."""
    by_prompt: dict[str, list[float]] = {}
    for row in duels:
        if row["value"] is not None:
            by_prompt.setdefault(plain(row["prompt"]), []).append(row["value"])
    means = {prompt: sum(values) / len(values) for prompt, values in by_prompt.items()}
    lost = sorted((prompt for prompt in means if means[prompt] < 0.5), key=lambda prompt: means[prompt])
    won = sorted((prompt for prompt in means if means[prompt] > 0.5), key=lambda prompt: -means[prompt])
    for title, chosen in (("lost", lost), ("won", won)):
        if chosen:
            more = f", {len(chosen) - LISTED} more on the page" if len(chosen) > LISTED else ""
            console.print(f"\nprompts {title} by {_short(pair['a'])} ({len(chosen)}{more})")
            for prompt in chosen[:LISTED]:
                console.print(f"  {_short(prompt)}")


def _short(text: str) -> str:
    flat = " ".join(visible(text).split())
    return flat if len(flat) <= _WIDE else f"{flat[: _WIDE // 2]} … {flat[-_WIDE // 2 :]}"


def _cells(measure: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return a share, its interval and its count as text."""
    mean, count = percent(measure["mean"]), f"{measure['n']:,}"
    if measure["low"] is None or measure["high"] is None:
        return mean, "", count
    return mean, f"{percent(measure['low'])} … {percent(measure['high'])}", count
