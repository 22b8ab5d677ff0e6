"""A study as one page: reward against distance for all methods, the frontier above them, rewards at equal KL."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..files import atomic_path
from .kit import Block, Cell, Code, Dots, Facts, Interval, Notice, Page, Prose, Scatter, Section, Table, Tile, Tiles
from .render import render
from .svg import drawing
from .text import number, shown

NAME = "frontier.json"

X, Y = "KL(π‖π_ref), nats/response", "reward"

NEAR = 3.0
"""How far the figure reaches, as a factor of the farthest distance of the comparison; the page shows all."""

REACH = 1.15
"""How far beyond the farthest measured point the frontier is drawn, as a factor of its KL."""

_READING = (
    "Each point is one setting at one evaluation, the mean over its runs; bars are 95\u202f% intervals over prompts "
    "and runs. The frontier is the reference tilted towards the reward, e^(r/β): no policy so near has a higher mean "
    "reward. Best-of-N keeps the best of N samples of the reference."
)
_LIMITS = (
    "The reward is the one that the study names, on prompts of one kind; another reward orders methods otherwise.",
    "Each method was run with the settings listed, at the learning rate and for the steps that its recipe says; one "
    "that was tuned further might stand higher. The best of several settings flatters a method that had more of them.",
    "KL is estimated on one sample a prompt; a single evaluation's may lie below 0.",
)


def write_frontier(folder: Path, document: Mapping[str, Any] | None = None, target: Path | None = None) -> Path:
    """Write the page of a study, by default `frontier.html` in its folder, and `frontier.svg`; return the page's path.

    Args:
        folder: Of the study.
        document: What `frontier.json` holds; default: read from there.
        target: Where the page goes.

    Raises:
        RunError: There is no `frontier.json`, or it is not readable.
        LogratioError: A file cannot be written.
    """
    if document is None:
        try:
            document = json.loads((folder / NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{folder / NAME} cannot be read ({error}); run the study again.") from error
    page, plot = compose(document), frontier_plot(document)
    target = target or folder / "frontier.html"
    with atomic_path(target) as temporary:
        temporary.write_text(render(page), encoding="utf-8")
    if plot.dots:
        with atomic_path(target.with_suffix(".svg")) as temporary:
            temporary.write_text(drawing(near(plot, document)), encoding="utf-8")
    return target


def compose(document: Mapping[str, Any]) -> Page:
    """Return a study as a page."""
    runs: Sequence[Mapping[str, Any]] = document["runs"]
    done = [run for run in runs if run["points"]]
    plot = frontier_plot(document)
    nothing = Prose(["No run has been measured yet."])
    sections = [
        Section("Reward against distance", [plot if plot.dots else nothing], _READING),
        Section("Reward at equal KL", [_at_equal_kl(document)], _EQUAL),
        *([Section("Method by method", paths)] if (paths := _by_method(document)) else []),
        Section("What each method cost", [_cost(done)], _COST),
        Section("Every run", [_every_run(done)]),
        *_frontier_section(document),
        Section("What this page does not show", [Prose(_LIMITS)]),
        Section("How it was run", [Code("Judge and model", json.dumps(_how(document), indent=2, ensure_ascii=False))]),
    ]
    return Page(
        title=document["title"],
        kicker="logratio sweep, a study",
        headline=_headline(document),
        tone="plain",
        support=_support(document),
        notices=[*_notices(runs), *([Notice("warn", document["lost"])] if document.get("lost") else [])],
        top=[Tiles(_tiles(document, runs)), Facts(_facts(document))],
        sections=sections,
        footer="Written from frontier.json by logratio. The page holds its own data and makes no request.",
    )


def frontier_plot(document: Mapping[str, Any]) -> Scatter:
    """Return the one plot of all methods, with the frontier and best-of-N."""
    methods = _methods(document)
    farthest = max((x for dots in methods for x in dots.x), default=1.0) * REACH
    curves = []
    tilts = [tilt for tilt in document["tilts"] if tilt["trusted"]]
    if known := _within(tilts, "kl", farthest):
        names = [f"β {number(tilt['beta'])}" for tilt in known]
        curves.append(_curve("Frontier (Gibbs)", known, [one["kl"]["mean"] for one in known], names, 0))
    bests = [one for one in document["best_of_n"] if one["distance"] <= max(farthest, 1.0)]
    if bests:
        names = [f"N {one['n']}" for one in bests]
        curves.append(_curve("Best-of-N", bests, [one["distance"] for one in bests], names, 1))
    return Scatter("Reward against KL", X, Y, [*curves, *methods], tall=True)


def near(plot: Scatter, document: Mapping[str, Any]) -> Scatter:
    """Return a plot without what lies far beyond the distances of the comparison, and saying how much that is."""
    most = NEAR * max((level["kl"] for level in document["levels"]), default=math.inf)
    beyond = sum(x > most for dots in plot.dots for x in dots.x)
    if not beyond:
        return plot
    label = f"{plot.x_label} ({beyond} points beyond {number(most)} are not drawn)"
    return replace(plot, x_label=label, dots=[_until(dots, most) for dots in plot.dots])


def _until(dots: Dots, most: float) -> Dots:
    def kept(column: Sequence[Any]) -> list[Any]:
        return [value for value, x in zip(column, dots.x, strict=True) if x <= most] if column else []

    return replace(
        dots,
        x=kept(dots.x),
        y=kept(dots.y),
        names=kept(dots.names),
        low=kept(dots.low),
        high=kept(dots.high),
        about=kept(dots.about),
    )


def _within(tilts: Sequence[Mapping[str, Any]], key: str, most: float) -> list[Mapping[str, Any]]:
    return [tilt for tilt in tilts if tilt[key]["mean"] <= most]


def _curve(label: str, rows: Sequence[Mapping[str, Any]], xs: Sequence[float], names: Sequence[str], look: int) -> Dots:
    low, high = _ends([row["reward"] for row in rows])
    rewards = [row["reward"]["mean"] for row in rows]
    return Dots(label, xs, rewards, names, low, high, joined=True, look=look, bare=True)


def _ends(measures: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    """Return both ends of intervals, NaN where they are not known."""
    ends = [[math.nan if one[end] is None else float(one[end]) for one in measures] for end in ("low", "high")]
    return ends[0], ends[1]


def _points(
    label: str, found: Sequence[tuple[Mapping[str, Any], str, str]], look: int, *, joined: bool = False
) -> Dots:
    """Return evaluations, each with its name and what runs are behind it, as points."""
    low, high = _ends([point["reward"] for point, _, _ in found])
    return Dots(
        label,
        x=[point["kl"]["mean"] for point, _, _ in found],
        y=[point["reward"]["mean"] for point, _, _ in found],
        names=[called for _, called, _ in found],
        low=low,
        high=high,
        joined=joined,
        look=look,
        about=[runs for _, _, runs in found],
    )


def _methods(document: Mapping[str, Any]) -> list[Dots]:
    """Return each method's points, all settings and evaluations but the start's."""
    out = []
    for look, name in enumerate(_variants(document), 2):
        found = [
            (point, _named(setting, point), _runs(setting))
            for setting in document["settings"]
            if setting["variant"] == name
            for point in setting["points"]
            if point["step"] and point["kl"]["mean"] is not None
        ]
        if found:
            out.append(_points(name, found, look))
    return out


def _variants(document: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(one["variant"] for one in document["settings"]))


def _named(setting: Mapping[str, Any], point: Mapping[str, Any]) -> str:
    return ", ".join(filter(None, [setting["setting"], f"step {point['step']}"]))


def _runs(setting: Mapping[str, Any]) -> str:
    first, *others = setting["runs"]
    return f"run: {first}" if not others else f"runs: {first} and {len(others)} more seeds"


_EQUAL = (
    "A run's path joins its evaluations by straight lines and is read where it crosses the distance; a method's value "
    "is that of its best setting, the mean over all its runs. Intervals are bootstrapped over prompts and runs, with "
    "the choice of the setting. A dash: no setting's runs all came so far."
)


def _at_equal_kl(document: Mapping[str, Any]) -> Table:
    levels = document["levels"]
    names = list(dict.fromkeys(name for level in levels for name in level["methods"]))
    rows: list[list[Cell]] = [
        ["Frontier (Gibbs)", *(level["frontier"] for level in levels)],
        ["Best-of-N", *(level["best_of_n"] for level in levels)],
    ]
    known = {name: [_level(level["methods"].get(name)) for level in levels] for name in names}
    order = sorted(names, key=lambda name: [-(cell[0] if cell else -math.inf) for cell in known[name]])
    rows += [[name, *(cell[1] if cell else None for cell in known[name])] for name in order]
    return Table("Reward at equal KL", ["method", *(_nats(level["kl"]) for level in levels)], rows)


def _level(found: Mapping[str, Any] | None) -> tuple[float, Cell] | None:
    if found is None or found["reward"]["mean"] is None:
        return None
    measure = found["reward"]
    text = shown(Interval(measure["mean"], measure["low"], measure["high"]))
    return measure["mean"], f"{text}, {found['setting']}" if found["setting"] else text


def _by_method(document: Mapping[str, Any]) -> list[Scatter]:
    """Return, of each method, the paths of its settings under the frontier."""
    curve = frontier_plot(document).dots[:1] if document["tilts"] else []
    out = []
    for name in _variants(document):
        own = [one for one in document["settings"] if one["variant"] == name]
        farthest = max((point["kl"]["mean"] or 0.0 for one in own for point in one["points"]), default=0.0) * REACH
        dots = [_cut(one, farthest) for one in curve]
        for look, one in enumerate(own, 2):
            points = [point for point in one["points"] if point["kl"]["mean"] is not None]
            found = [(point, f"step {point['step']}", _runs(one)) for point in points]
            dots.append(_points(one["setting"] or name, found, look, joined=True))
        out.append(Scatter(name, X, Y, dots))
    return out


def _cut(curve: Dots, most: float) -> Dots:
    """Return the part of a curve up to a distance."""
    kept = [i for i, x in enumerate(curve.x) if x <= most]
    x, y, low, high = ([values[i] for i in kept] for values in (curve.x, curve.y, curve.low, curve.high))
    names = [curve.names[i] for i in kept]
    return replace(curve, x=x, y=y, low=low, high=high, names=names)


_COST = (
    "Means over a method's runs: tokens trained on, prompts counted once, and seconds on one thread, evaluations and "
    "sampling included; two runs at a time share the machine, so seconds are a rough guide."
)


def _cost(runs: Sequence[Mapping[str, Any]]) -> Table:
    rows: list[list[Cell]] = []
    for name in dict.fromkeys(run["variant"] for run in runs):
        last = [run["points"][-1] for run in runs if run["variant"] == name]
        tokens = sum(point["tokens"] for point in last) / len(last)
        seconds = sum(point["seconds"] for point in last) / len(last)
        rows.append([name, str(len(last)), f"{tokens:,.0f}", f"{seconds:,.0f}"])
    return Table("Cost of a run", ["method", "runs", "tokens", "seconds"], rows)


def _every_run(runs: Sequence[Mapping[str, Any]]) -> Table:
    rows: list[list[Cell]] = []
    for run in runs:
        last = run["points"][-1]
        rows.append(
            [
                run["name"],
                str(last["step"]),
                _interval(last["reward"]),
                _interval(last["kl"]),
                _interval(last["length"]),
            ]
        )
    columns = ["run", "steps", Y, "KL, nats", "tokens a response"]
    return Table(
        "At the end of each run", columns, rows, folded=f"{len(rows)} runs; each is a folder with a report.html"
    )


def _interval(measure: Mapping[str, Any]) -> Cell:
    return None if measure["mean"] is None else Interval(measure["mean"], measure["low"], measure["high"])


def _frontier_section(document: Mapping[str, Any]) -> list[Section]:
    """Return how the frontier was estimated, and how far it can be relied on."""
    if not document["tilts"]:
        return []
    tilts: list[list[Cell]] = [
        [
            number(tilt["beta"]),
            _interval(tilt["kl"]),
            _interval(tilt["reward"]),
            number(tilt["effective"]),
            number(tilt["bias_kl"]),
            number(tilt["bias_reward"]),
            "" if tilt["trusted"] else "too few samples carry it: not drawn",
        ]
        for tilt in document["tilts"]
    ]
    heads = ["β", "KL, nats", Y, "effective samples", "bias of KL", "bias of reward", ""]
    bests: list[list[Cell]] = [
        [str(one["n"]), _interval(one["kl"]) if one["kl"] else None, one["bound"], _interval(one["reward"])]
        for one in document["best_of_n"]
    ]
    blocks: list[Block] = [
        Prose([document["bias"]]),
        Table("The reference tilted towards the reward", heads, tilts, folded="Numbers of the frontier"),
        Table(
            "Best-of-N; its KL where rewards have ties, and the bound log N − (N−1)/N",
            ["N", "KL, nats", "bound", Y],
            bests,
            folded="Numbers of best-of-N",
        ),
    ]
    lead = f"{document['samples']} samples of the reference at each of {document['prompts']} prompts."
    return [Section("How the frontier was estimated", blocks, lead)]


def _headline(document: Mapping[str, Any]) -> str:
    """Return which method has most reward at the farthest level that at least two reached."""
    for level in reversed(document["levels"]):
        found = {name: row for name, row in level["methods"].items() if row["reward"]["mean"] is not None}
        if len(found) < 2:
            continue
        (best, row), (second, other) = sorted(found.items(), key=lambda item: -item[1]["reward"]["mean"])[:2]
        measure, beside = row["reward"], other["reward"]
        share = "" if not level["frontier"] else f", where the frontier is {number(level['frontier'])}"
        text = shown(Interval(measure["mean"], measure["low"], measure["high"]))
        said = f"At {_nats(level['kl'])} {best} has the most reward, {text}{share}"
        apart = None not in (measure["low"], beside["high"]) and measure["low"] > beside["high"]
        return f"{said}; {'apart from' if apart else 'not shown to be above'} {second}."
    return "No two methods came equally far from the reference, so none can be compared at equal KL."


def _support(document: Mapping[str, Any]) -> str:
    seeds = len(document["seeds"])
    return (
        f"Reward of {_judge(document)}, on prompts that no run trained on; {seeds} {'seed' if seeds == 1 else 'seeds'} "
        "of each setting."
    )


def _nats(value: float) -> str:
    return f"{number(value)} {'nat' if value == 1 else 'nats'}"


def _judge(document: Mapping[str, Any]) -> str:
    judge = document["judge"]
    return str(next((judge[key] for key in ("function", "reward_model", "implicit", "url") if judge.get(key)), "?"))


def _notices(runs: Sequence[Mapping[str, Any]]) -> list[Notice]:
    failed = [Notice("bad", f"{run['name']} failed: {run['error']}") for run in runs if run["status"] == "failed"]
    waiting = [run["name"] for run in runs if run["status"] not in ("failed", "finished")]
    if waiting:
        more = f" and {len(waiting) - 3} more" if len(waiting) > 3 else ""
        failed.append(Notice("warn", f"Not finished: {', '.join(waiting[:3])}{more}."))
    return failed


def _tiles(document: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> list[Tile]:
    done = sum(run["status"] == "finished" for run in runs)
    tiles = [
        Tile("Runs finished", f"{done} of {len(runs)}", f"{sum(run['seconds'] for run in runs) / 60:.0f} min of runs")
    ]
    if document["reference"]:
        start = document["reference"]
        text, _, ends = shown(Interval(start["mean"], start["low"], start["high"])).partition(" [")
        tiles.append(
            Tile("Reward of the reference", text, f"95\u202f% interval {ends.rstrip(']').replace(', ', ' to ')}")
        )
    if trusted := [tilt for tilt in document["tilts"] if tilt["trusted"]]:
        last = trusted[-1]
        about = "where its estimate ends; beyond, too few samples of the reference carry it"
        reward, away = number(last["reward"]["mean"]), number(last["kl"]["mean"])
        tiles.append(Tile("Frontier known up to", f"{away} nats", f"reward {reward} there", about))
    return tiles


def _facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    methods = ", ".join(dict.fromkeys(run["variant"] for run in document["runs"]))
    return [("Reference", Path(document["model"]).name), ("Reward", _judge(document)), ("Methods", methods)]


def _how(document: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": Path(document["model"]).name, "judge": document["judge"], "seeds": document["seeds"]}
