"""A sweep as one page: the answer, the comparison, its plots, and the training curves over each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..files import atomic_path
from ..report import overlay
from ..report.kit import (
    Block,
    Code,
    Facts,
    Interval,
    Notice,
    Page,
    Plot,
    Prose,
    Section,
    Series,
    Table,
    Tile,
    Tiles,
    Tone,
)
from ..report.names import ACCURACY, KL, LOSS, NLL, metric
from ..report.read import interval, read_run
from ..report.render import render
from ..report.text import shown
from . import table
from .grid import label
from .record import Entry

APART = 16
"""Runs drawn as single points in one plot: as many as colour and marker tell apart."""

FALLING = {NLL, LOSS}
"""Measures of which less is better."""


def write_page(folder: Path, document: Mapping[str, Any]) -> Path:
    """Write `sweep.html` into a sweep's folder and return its path.

    Args:
        folder: Of the sweep, with its runs in it.
        document: What `sweep.json` holds.

    Raises:
        LogratioError: The page cannot be written.
    """
    target = folder / "sweep.html"
    with atomic_path(target) as temporary:
        temporary.write_text(render(compose(folder, document)), encoding="utf-8")
    return target


def compose(folder: Path, document: Mapping[str, Any]) -> Page:
    """Return a sweep as a page."""
    runs: list[Entry] = document["runs"]
    headline, support, tone = _answer(runs)
    by_value = [plot for name in _comparable(runs) for plot in _by_value(runs, name)]
    sections = [
        Section("Comparison", [_comparison(runs)], table.UNITS if table.differ_in_objective(runs) else ""),
        *([Section("By value", by_value, "Final evaluations on held-out data.")] if by_value else []),
        *([Section("Gain against distance", drawn, _FRONTIER)] if (drawn := _against_kl(runs)) else []),
        *([Section("Training", curves)] if (curves := _curves(folder, runs)) else []),
        Section("Every measure", _everything(runs)),
        Section("How it was run", _how(folder, document)),
    ]
    return Page(
        title=f"Sweep over {', '.join(map(label, runs[0]['values']))}",
        kicker="logratio sweep",
        headline=headline,
        tone=tone,
        support=support,
        notices=_notices(folder, runs),
        top=[Tiles(_tiles(runs)), Facts(_facts(runs))],
        sections=sections,
        footer=f"Written from {folder.name}/ by logratio. The page holds its own data and makes no request.",
    )


_FRONTIER = (
    "Each run at the distance of its samples from the reference: of two runs that gain the same, the one further "
    "to the left moved less."
)


def _comparable(runs: Sequence[Entry]) -> list[str]:
    """Return the measures that mean the same in every run, whatever its objective."""
    own = {"margin", LOSS} if table.differ_in_objective(runs) else set[str]()
    names = [name for name in table.measures(runs) if name not in own and not name.startswith("loss_")]
    ratios = ("logratio_chosen", "logratio_rejected")
    return [*names, *(name for name in ratios if any(table.value(run, name) for run in runs))]


def _ranked(runs: Sequence[Entry]) -> tuple[str, list[tuple[Entry, Interval]]]:
    """Return the measure that runs are judged by, "" without one, and those that have it, best first."""
    name = next((name for name in (ACCURACY, NLL) if name in table.measures(runs)), "")
    found = [(run, value) for run in runs if name and (value := table.value(run, name)) is not None]
    return name, sorted(found, key=lambda item: item[1].mean, reverse=name not in FALLING)


def _answer(runs: Sequence[Entry]) -> tuple[str, str, Tone]:
    """Return headline, support and tone: which run is best, and whether that is shown."""
    name, found = _ranked(runs)
    if not found:
        return "No run was measured on held-out data by what compares between runs.", "", "warn"
    best, value = found[0]
    what = f"held-out {metric(name).label.lower().removeprefix('pair ')}"
    alike = [run for run, other in found if run is not best and overlay.touch(value, other)]
    extreme = "lowest" if name in FALLING else "highest"
    first = f"The {extreme} {what} is {shown(Interval(value.mean, share=value.share))}, at {table.called(best)}"
    if len(found) == 1:
        return f"{first}; no other run was measured.", "", "plain"
    if alike:
        listed = " or ".join(map(table.called, alike))
        if len(alike) > 2:
            listed = f"{len(alike)} of the {len(found) - 1} others"
        headline = f"{first}, but it is not shown to be better than {listed}: the intervals touch."
    else:
        headline = f"{first}; its interval lies apart from those of all other runs."
    support = (
        f"It is the best of {len(found)} on these very prompts, which flatters it: measure the one you choose on "
        f"other data with `logratio eval {best['name']} --data FILE`."
    )
    return headline, support, "plain"


def _tiles(runs: Sequence[Entry]) -> list[Tile]:
    """Return the key numbers: the best run's gain and distance, and what the sweep cost."""
    name, found = _ranked(runs)
    tiles = []
    for measure in (name, KL) if found else ():
        best = found[0][0]
        if (value := table.value(best, measure)) is not None:
            what = metric(measure)
            mean, _, ends = shown(value).partition(" [")
            interval = f"95\u202f% interval {ends.rstrip(']').replace(', ', ' to ')}" if ends else ""
            named = f"{what.label}, {what.unit}" if what.unit else what.label
            tiles.append(Tile(named, mean, interval, f"at {table.called(best)}, the best of {len(found)}"))
    done = sum(run["status"] == "finished" for run in runs)
    paid = sum(run["reference"] == "computed" for run in runs)
    taken = sum(run["reference"] == "cached" for run in runs)
    tiles.append(Tile("Runs finished", f"{done} of {len(runs)}", table.duration(sum(run["seconds"] for run in runs))))
    if paid or taken:
        about = "runs that computed log-probs of the reference; the others found them on disk"
        tiles.append(Tile("Reference paid for by", f"{paid} of {paid + taken}", about=about))
    return tiles


def _notices(folder: Path, runs: Sequence[Entry]) -> list[Notice]:
    failed = [run for run in runs if run["status"] == "failed"]
    waiting = [run for run in runs if run["status"] not in ("failed", "finished")]
    notices = [Notice("bad", f"The run with {table.called(run)} failed: {run['error']}") for run in failed]
    if waiting:
        missing = "; ".join(map(table.called, waiting))
        notices.append(
            Notice("warn", f"Not finished: {missing}. `logratio sweep --resume {folder.name}` goes on from there.")
        )
    return [*notices, *(Notice("warn", text) for text in table.cautions(runs, folder))]


def _facts(runs: Sequence[Entry]) -> list[tuple[str, str]]:
    config = runs[0]["config"]
    varied = set(runs[0]["values"])
    facts = [
        ("Model", "" if "model" in varied else config["model"]),
        ("Data", "" if "data" in varied else ", ".join(part["path"] for part in config["data"])),
        ("Objective", "" if varied & {"objective", "objective.name"} else config["objective"]["name"]),
    ]
    for path in runs[0]["values"]:
        facts.append((path, ", ".join(dict.fromkeys(run["values"][path] for run in runs))))
    return [(name, value) for name, value in facts if value]


def _comparison(runs: Sequence[Entry]) -> Table:
    """Return the table of the terminal, each row named by its values."""
    count = len(runs[0]["values"])
    heads = table.columns(runs)[count:]
    rows = [[table.called(run), *cells[count:]] for run, cells in zip(runs, table.cells(runs), strict=True)]
    return Table("Final evaluations on held-out data: means with 95\u202f% intervals", ["run", *heads], rows)


def _by_value(runs: Sequence[Entry], name: str) -> list[Plot]:
    """Return a measure over each axis, one curve for each combination of the other axes' values."""
    plots = []
    for path in runs[0]["values"]:
        texts = list(dict.fromkeys(run["values"][path] for run in runs))
        if len(texts) < 2:
            continue
        places = _places(texts)
        groups: dict[str, list[Entry]] = {}
        for run in runs:
            rest = {other: text for other, text in run["values"].items() if other != path}
            groups.setdefault(table.called({"values": rest}), []).append(run)
        series = []
        for look, (named, own) in enumerate(groups.items()):
            known = sorted((places[run["values"][path]], value) for run in own if (value := _whole(run, name)))
            series += _points(named or "held out", known, look) if known else []
        if sum(len(curve.x) for curve in series) < 2:
            continue
        ticks = sorted((place, text) for text, place in places.items())
        for part in overlay.parts(series, overlay.TOGETHER):
            title = f"{metric(name).label} by {label(path)}"
            about = metric(name).about
            note = f"{about[0].upper()}{about[1:]}." if about else ""
            plots.append(
                Plot(
                    title,
                    metric(name).unit,
                    part,
                    note,
                    share=metric(name).share,
                    x_label=label(path),
                    level=0.5 if name == ACCURACY else None,
                    ticks=ticks,
                )
            )
    return plots


def _whole(run: Entry, name: str) -> tuple[float, float, float] | None:
    """Return mean and ends of a finished run's measure, the ends NaN where they are not known."""
    value = table.value(run, name)
    return None if value is None else (value.mean, *(value.ends or (math.nan, math.nan)))


def _places(texts: Sequence[str]) -> dict[str, float]:
    """Return where the values of an axis stand: in proportion, by powers of ten where they span one, else in a row."""
    numbers = [table.position(text) for text in texts]
    known = [number for number in numbers if number is not None]
    if len(known) < len(texts):
        return {text: float(at) for at, text in enumerate(texts)}
    if min(known) > 0 and max(known) >= 8 * min(known):
        return {text: math.log10(number) for text, number in zip(texts, known, strict=True)}
    return dict(zip(texts, known, strict=True))


def _points(named: str, known: Sequence[tuple[float, tuple[float, float, float]]], look: int) -> list[Series]:
    xs = [x for x, _ in known]
    means, lows, highs = ([value[at] for _, value in known] for at in range(3))
    bars = not all(map(math.isnan, lows))
    return [Series(named, xs, means, lows if bars else (), highs if bars else (), points=True, look=look)]


def _against_kl(runs: Sequence[Entry]) -> list[Block]:
    """Return accuracy against KL, one point a run."""
    found = [
        (run, kl.mean, gain)
        for run in runs
        if (kl := table.value(run, KL)) is not None and (gain := _whole(run, ACCURACY)) is not None
    ]
    if len(found) < 2:
        return []
    series = [
        one for look, (run, kl, gain) in enumerate(found) for one in _points(table.called(run), [(kl, gain)], look)
    ]
    return [
        Plot(
            "Pair accuracy against KL(π‖π_ref)",
            "",
            part,
            "Bars: 95\u202f% intervals of accuracy; those of KL are in the table.",
            share=True,
            x_label="KL, nats/response",
            level=0.5,
        )
        for part in overlay.parts(series, APART)
    ]


def _curves(folder: Path, runs: Sequence[Entry]) -> list[Block]:
    """Return what was logged by step, runs over each other."""
    begun = [run for run in runs if (folder / run["name"] / "manifest.json").is_file()]
    return list(overlay.curves([(table.called(run), read_run(folder / run["name"])) for run in begun]))


def _everything(runs: Sequence[Entry]) -> list[Block]:
    done = [run for run in runs if run["status"] == "finished"]
    names = dict.fromkeys(name for run in done for name in run["evaluation"])
    rows = []
    for name in names:
        unit = f" ({metric(name).unit})" if metric(name).unit else ""
        rows.append([f"{metric(name).label}{unit}", *(interval(run["evaluation"], name) for run in done)])
    if not rows:
        return [Prose(["No run was measured on held-out data."])]
    return [Table("Final evaluations: means with 95\u202f% intervals", ["measure", *map(table.called, done)], rows)]


def _how(folder: Path, document: Mapping[str, Any]) -> list[Block]:
    text = yaml.safe_dump(document["given"], sort_keys=False, allow_unicode=True, width=100)
    links = ", ".join(f"`{run['name']}/report.html`" for run in document["runs"])
    return [
        Prose([f"Each run is a directory of its own with a report: {links}. `sweep.json` holds this page's numbers."]),
        Code("What was asked for", text),
    ]
