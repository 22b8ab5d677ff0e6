"""The page of win rates: who is preferred, how surely, at equal length, where it was lost, and the judged answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..files import atomic_path
from .compare import labels
from .doubts import doubts
from .duels import LEAST, SHOWN, samples
from .kit import Block, Cell, Facts, Interval, Linked, Notice, Page, Plot, Prose, Section, Series, Table, Tile, Tiles
from .read import json_lines
from .render import render
from .text import number, percent, shown

_LEAD = (
    "Mean preference for the first model, ties ½, with 95 % intervals over prompts. LC: at equal length by regression, "
    "as AlpacaEval 2 defines it. Matched: of pairs in which the longer answer has at most 1.25 times the characters. "
    "Flips: share in which the winner changes with the order. Shown first, Longer: mean preference for that answer."
)


def write_winrate(folder: Path, target: Path | None = None) -> Path:
    """Write the page of a win-rate folder, and return its path.

    Args:
        folder: Holds winrate.json and duels.jsonl.
        target: The HTML file; default: winrate.html in the folder.

    Raises:
        RunError: The folder holds no win rates, or they cannot be read.
        LogratioError: The page cannot be written.
    """
    try:
        result = json.loads((folder / "winrate.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise RunError(f"{folder} holds no win rates (winrate.json); make some with: logratio winrate A B …") from None
    problems: list[str] = []
    duels = json_lines(folder / "duels.jsonl", problems)
    target = target or folder / "winrate.html"
    with atomic_path(target) as temporary:
        temporary.write_text(render(compose(result, duels, problems)), encoding="utf-8")
    return target


def compose(result: Mapping[str, Any], duels: Sequence[Mapping[str, Any]], problems: Sequence[str] = ()) -> Page:
    """Return win rates as a page."""
    names = dict(zip(result["models"], _names(result["models"]), strict=True))
    first = result["at"][0]
    headline, support, tone = _answer(first, names)
    if len(result["at"]) > 1:
        support = f"At temperature {first['temperature']:g}; the others are below. {support}".rstrip()
    sections = [
        Section("Win rates", [block for own in result["at"] for block in _tables(own, names, result)], _LEAD),
        Section("By temperature", _by_temperature(result, names)),
        Section("By category", [block for own in result["at"] for block in _categories(own, names, result)]),
        Section("Ranking", [block for own in result["at"] for block in _ranking(own, names, result)], _RANKED),
        Section("Answers", [_answers(own, names, result) for own in result["at"]]),
        *_samples(result, duels, names),
        Section("How it was made", _made(result)),
    ]
    return Page(
        title=" · ".join(names.values()),
        kicker="logratio winrate",
        headline=headline,
        tone=tone,
        support=support,
        notices=[*_notices(result, names), *(Notice("warn", problem) for problem in problems)],
        top=[Tiles(_tiles(first["pairs"][0]))] if len(names) == 2 else [],
        sections=[section for section in sections if section.blocks],
        footer="Written by logratio. The page holds its own data and makes no request.",
    )


def _names(models: Sequence[str]) -> list[str]:
    """Return the shortest ends of the models' paths that tell them apart and are not just "model"."""
    places = [Path(name.removesuffix(".jsonl")) for name in models]
    found = [
        "/".join(place.parts[-2:]) if own == "model" else own for own, place in zip(labels(places), places, strict=True)
    ]
    return found if len(set(found)) == len(models) else list(models)


def _answer(own: Mapping[str, Any], names: Mapping[str, str]) -> tuple[str, str, Any]:
    if len(names) > 2:
        best, second = own["ranking"][:2]
        clear = best["worst"] == 1
        said = f"{names[best['model']]} ranks first of {len(names)}"
        doubt = "" if clear else f", though not surely: its rank is 1 to {best['worst']}"
        told = f"{shown(_interval(best['points'], share=False))} Elo points; next {names[second['model']]}."
        return f"{said}{doubt}.", told, "good" if clear else "plain"
    (pair,) = own["pairs"]
    a, b, rate = names[pair["a"]], names[pair["b"]], pair["rate"]
    if rate["mean"] is None:
        return "Nothing was judged, so this page cannot say which model is better.", "", "warn"
    told = shown(_interval(rate))
    if rate["low"] is not None and rate["low"] > 0.5:
        return f"{a} is preferred to {b}: {told}.", _support(pair), "good"
    if rate["high"] is not None and rate["high"] < 0.5:
        return f"{b} is preferred to {a}, which wins {told}.", _support(pair), "bad"
    return f"{a} and {b} are not told apart: {told}.", _support(pair), "plain"


def _support(pair: Mapping[str, Any]) -> str:
    said = f"{pair['wins']:,} won, {pair['ties']:,} tied, {pair['losses']:,} lost at {pair['prompts']:,} prompts."
    if pair["controlled"] is not None:
        said += f" At equal length: {shown(_interval(pair['controlled']))}."
    return said


def _tiles(pair: Mapping[str, Any]) -> list[Tile]:
    told = [
        ("Win rate", pair["rate"], "ties ½"),
        ("At equal length", pair["controlled"], "LC, as AlpacaEval 2"),
        ("Equally long answers", pair["matched"], "longer at most 1.25 times"),
        ("Order flips", pair["flips"], "0 of a judge blind to place"),
        ("Longer preferred", pair["longer"], "½ where length does not matter"),
        ("Both bad", pair["both_bad"], "neither acceptable"),
    ]
    tiles = []
    for label, measure, about in told:
        if measure is not None and measure["mean"] is not None and (label != "Both bad" or measure["mean"]):
            ends = "" if measure["low"] is None else f"{percent(measure['low'])} to {percent(measure['high'])}"
            tiles.append(Tile(label, percent(measure["mean"]), ends, f"{about}; n {measure['n']:,}"))
    return tiles


def _tables(own: Mapping[str, Any], names: Mapping[str, str], result: Mapping[str, Any]) -> list[Block]:
    judged = [("Flips", "flips"), ("Shown first", "shown_first"), ("Longer", "longer")]
    judged += [("Both bad", "both_bad")] if any(pair["both_bad"]["mean"] for pair in own["pairs"]) else []
    rates: list[list[Cell]] = []
    counts: list[list[Cell]] = []
    for i, pair in enumerate(own["pairs"]):
        who, anchor = f"{names[pair['a']]} over {names[pair['b']]}", _anchor(own, i)
        rates.append([who, *(_interval(pair[name]) for name in ("rate", "controlled", "matched"))])
        counts.append(
            [
                who,
                _linked(pair["wins"], f"{anchor}-won"),
                float(pair["ties"]),
                _linked(pair["losses"], f"{anchor}-lost"),
                _linked(pair["failed"], f"{anchor}-failed"),
                *(_interval(pair[name]) for _, name in judged),
            ]
        )
    judge = ["First over second", "Won", "Tied", "Lost", "No verdict", *(title for title, _ in judged)]
    return [
        Table(f"Win rates{_heat(own, result)}", ["First over second", "Win rate", "LC", "Matched"], rates),
        Table(f"How the judge judged{_heat(own, result)}", judge, counts),
    ]


def _linked(count: int, anchor: str) -> Cell:
    return Linked(f"{count:,}", anchor) if count else 0.0


def _anchor(own: Mapping[str, Any], pair: int) -> str:
    return f"t{number(own['temperature']).replace('.', '-')}p{pair}"


def _heat(own: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    return f", temperature {own['temperature']:g}" if len(result["at"]) > 1 else ""


def _by_temperature(result: Mapping[str, Any], names: Mapping[str, str]) -> list[Block]:
    if len(result["at"]) < 2:
        return []
    series = []
    for i, pair in enumerate(result["at"][0]["pairs"]):
        measures = [(own["temperature"], own["pairs"][i]["rate"]) for own in result["at"]]
        series.append(_series(f"{names[pair['a']]} over {names[pair['b']]}", sorted(measures, key=_first), i))
    return [Plot("Win rate by temperature", "", series, share=True, x_label="temperature", level=0.5)]


def _first(pair: tuple[float, Any]) -> float:
    return pair[0]


def _series(label: str, measures: Iterable[tuple[float, Mapping[str, Any]]], look: int) -> Series:
    known = [(x, own) for x, own in measures if own["mean"] is not None]
    ends = all(own["low"] is not None for _, own in known)
    return Series(
        label,
        [x for x, _ in known],
        [own["mean"] for _, own in known],
        [own["low"] for _, own in known] if ends else (),
        [own["high"] for _, own in known] if ends else (),
        points=True,
        look=look,
    )


def _categories(own: Mapping[str, Any], names: Mapping[str, str], result: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    for pair in own["pairs"]:
        if len(pair["categories"]) > 1:
            rows: list[list[Cell]] = [
                [kind, _interval(measure), f"{measure['n']:,}"] for kind, measure in pair["categories"].items()
            ]
            title = f"{names[pair['a']]} over {names[pair['b']]}{_heat(own, result)}"
            blocks.append(Table(title, [str(result["category"]), "Win rate", "Pairs"], rows))
    return blocks


_RANKED = (
    "Bradley–Terry strengths as Elo points about a mean of 1000; 100 points are odds of 1.8 to 1. Intervals are of the "
    "bootstrap over prompts."
)


def _ranking(own: Mapping[str, Any], names: Mapping[str, str], result: Mapping[str, Any]) -> list[Block]:
    if len(names) < 3:
        return []
    rows: list[list[Cell]] = [
        [
            f"{place['rank']}. {names[place['model']]}",
            _interval(place["points"], share=False),
            f"{place['best']}–{place['worst']}",
            f"{place['points']['n']:,}",
        ]
        for place in own["ranking"]
    ]
    columns = ["Model", "Elo points", "Rank, 95 %", "Pairs"]
    points = [(float(i), place["points"]) for i, place in enumerate(own["ranking"])]
    ticks = [(float(i), names[place["model"]]) for i, place in enumerate(own["ranking"])]
    plot = Plot(
        f"Elo points{_heat(own, result)}",
        "",
        [_series("points", points, 0)],
        x_label="model",
        level=1000.0,
        ticks=ticks,
    )
    said = [
        f"The largest gap between a win rate and what the ranking says of the two models is {percent(own['misfit'])}."
    ]
    for cycle in own["cycles"]:
        told = " beats ".join(names[name] for name in (*cycle["models"], cycle["models"][0]))
        said.append(
            f"No ranking shows this cycle: {told}, "
            + ("by the intervals too." if cycle["sure"] else "though within the doubt of the intervals.")
        )
    return [Table(f"Ranking{_heat(own, result)}", columns, rows), plot, Prose(said)]


def _answers(own: Mapping[str, Any], names: Mapping[str, str], result: Mapping[str, Any]) -> Table:
    thought = any(model["thought_characters"] is not None for model in own["models"])
    columns = ["Model", "Characters", *(["Of thought"] if thought else []), "Tokens", "Ended by itself", "Empty"]
    rows: list[list[Cell]] = []
    for model in own["models"]:
        cells: list[Cell] = [names[model["model"]], _interval(model["characters"], share=False)]
        if thought:
            cells.append(_interval(model["thought_characters"], share=False))
        cells += [_interval(model["tokens"], share=False), _interval(model["ended"]), float(model["empty"])]
        rows.append(cells)
    return Table(f"What the answers are like{_heat(own, result)}", columns, rows)


def _samples(
    result: Mapping[str, Any], duels: Sequence[Mapping[str, Any]], names: Mapping[str, str]
) -> Iterable[Section]:
    most = max(LEAST, SHOWN // sum(len(own["pairs"]) for own in result["at"]))
    for own in result["at"]:
        here = [duel for duel in duels if duel.get("temperature") == own["temperature"]]
        for i, pair in enumerate(own["pairs"]):
            block = samples(here, pair["a"], pair["b"], _anchor(own, i), most)
            title = f"{names[pair['a']]} against {names[pair['b']]}{_heat(own, result)}"
            yield Section(title, [block] if block.found else [], "Judged answers; open a row to read both.")


def _notices(result: Mapping[str, Any], names: Mapping[str, str]) -> list[Notice]:
    said = []
    for own in result["at"]:
        for pair in own["pairs"]:
            who = f"{names[pair['a']]} over {names[pair['b']]}{_heat(own, result)}: "
            said += [Notice("warn", who + text) for text in doubts(pair)]
    return said


def _interval(measure: Mapping[str, Any] | None, share: bool = True) -> Cell:
    if measure is None or measure["mean"] is None:
        return None
    return Interval(measure["mean"], measure["low"], measure["high"], measure["n"], share=share)


def _made(result: Mapping[str, Any]) -> list[Block]:
    settings = result["settings"]
    facts = [
        ("Judge", str(result["judge"])),
        ("Models", ", ".join(result["models"])),
        ("Prompts", f"{result['prompts']:,}"),
        ("Answers a prompt", f"{settings['k']}"),
        ("Temperature", ", ".join(f"{own['temperature']:g}" for own in result["at"])),
        ("Longest answer", f"{settings['max_new_tokens']:,} tokens"),
        ("Seed", f"{settings['seed']}"),
        ("Controlled beside length", str(result["difficulty"] or "nothing")),
        *((f"Judge, {name.replace('_', ' ')}", number(value)) for name, value in result["usage"].items()),
        ("Date", str(result["date"])),
        ("Version", str(result["version"])),
    ]
    return [Facts(facts)]
