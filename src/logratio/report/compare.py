"""Several runs on one page: what each gained, at what distance, and how they differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..files import atomic_path
from ..findings import worst
from . import held, overlay
from .beside import Beside, read_beside
from .found import PASSING, TONES, counted
from .kit import Block, Cell, Figure, Interval, Notice, Page, Prose, Section, Table, Tone
from .names import ACCURACY, KL, LOSS, NLL, metric
from .page import measured_of, notices_of
from .read import RunFiles, read_run
from .render import render
from .summary import Measured
from .text import plain, shown

_FALLING = {NLL, LOSS}


@dataclass(frozen=True)
class Side:
    """One of the runs: its name on the page, its files, what was found about it, and its measures."""

    label: str
    run: RunFiles
    beside: Beside
    measured: Measured


def write_comparison(directories: Sequence[Path], target: Path) -> Path:
    """Write a page that compares runs, and return its path.

    Raises:
        RunError: Fewer than two different directories, or one of them holds no run.
        LogratioError: The page cannot be written.
    """
    places = list(dict.fromkeys(path.resolve() for path in directories))
    if len(places) < 2:
        raise RunError(f"{len(places)} run is nothing to compare; give two or more different run directories.")
    sides = []
    for label, path in zip(labels(places), places, strict=True):
        run = read_run(path)
        sides.append(Side(label, run, read_beside(path), measured_of(run)))
    with atomic_path(target) as temporary:
        temporary.write_text(render(compose(sides)), encoding="utf-8")
    return target


def labels(places: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that tell them apart."""
    for depth in range(1, max(len(path.parts) for path in places) + 1):
        found = ["/".join(path.parts[-depth:]) for path in places]
        if len(set(found)) == len(found):
            return found
    return [str(path) for path in places]


def compose(sides: Sequence[Side]) -> Page:
    """Return the comparison of runs as a page."""
    headline, support, tone = _answer(sides)
    sections = [
        Section("Gain against distance", planes(sides), _PLANE),
        Section(
            "Curves", overlay.curves([(side.label, side.run) for side in sides]) or [Prose(["Nothing was logged."])]
        ),
        Section("Every measure", _measures(sides)),
        Section("Findings", _findings(sides)),
        Section("How they differ", _differences(sides)),
    ]
    notices = [
        replace(notice, text=f"{side.label}: {notice.text}")
        for side in sides
        for notice in (*notices_of(side.run), *(Notice("warn", text) for text in side.beside.problems))
    ]
    return Page(
        title=f"{len(sides)} runs compared",
        kicker="logratio comparison",
        headline=headline,
        tone=tone,
        support=support,
        notices=notices,
        top=[_overview(sides)],
        sections=[section for section in sections if section.blocks],
        footer="Written by logratio. The page holds its own data and makes no request.",
    )


_PLANE = (
    "Each run's evaluations at the distance of its samples from the reference: of two runs that gain the same, the one "
    "further to the left moved less."
)


def _judged_by(sides: Sequence[Side]) -> str:
    """Return the measure that most runs have and that means the same in all; "" without one."""
    counts = {name: sum(name in side.measured.after for side in sides) for name in (ACCURACY, NLL)}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] else ""


def _answer(sides: Sequence[Side]) -> tuple[str, str, Tone]:
    """Return headline, support and tone: which run is ahead, and whether that is shown."""
    name = _judged_by(sides)
    if not name:
        return "No run was measured on held-out data by what compares between runs.", "", "warn"
    found = [(side, side.measured.after[name]) for side in sides if name in side.measured.after]
    found.sort(key=lambda item: item[1].mean, reverse=name not in _FALLING)
    best, value = found[0]
    what = f"held-out {metric(name).label.lower().removeprefix('pair ')}"
    first = f"The {'lowest' if name in _FALLING else 'highest'} {what} is {_bare(value)}, of {best.label}"
    if len(found) == 1:
        return f"{first}; no other run was measured.", "", "plain"
    alike = [side.label for side, other in found[1:] if overlay.touch(value, other)]
    if alike:
        listed = " or ".join(alike) if len(alike) < 3 else f"{len(alike)} of the {len(found) - 1} others"
        headline = f"{first}, but it is not shown to be better than {listed}: the intervals touch."
    else:
        headline = f"{first}; its interval lies apart from those of all other runs."
    return headline, _same_data(sides, name), "plain"


def _bare(value: Interval) -> str:
    return shown(Interval(value.mean, share=value.share))


def _same_data(sides: Sequence[Side], name: str) -> str:
    counts = {side.measured.after[name].n for side in sides if name in side.measured.after}
    hashes = {_data(side).get("fingerprint") for side in sides}
    held_out = {plain(side.run.config.get("eval")) for side in sides}
    if len(counts) > 1 or len(hashes) > 1 or len(held_out) > 1:
        return "They were not measured on the same data, so that a difference may be the data's."
    if hashes == {None}:
        return "Whether they were measured on the same data is not recorded."
    return "All were measured on the same held-out data."


def _data(side: Side) -> Mapping[str, Any]:
    data = side.run.manifest.get("data")
    return data if isinstance(data, Mapping) else {}


def _overview(sides: Sequence[Side]) -> Table:
    """Return the figures by which runs are compared first."""
    names = [name for name in dict.fromkeys((_judged_by(sides), KL)) if name]
    heads = [f"{metric(name).label}{f', {metric(name).unit}' if metric(name).unit else ''}" for name in names]
    rows: list[list[Cell]] = [
        [side.label, *(side.measured.after.get(name) for name in names), side.measured.after_what, _trusted(side)]
        for side in sides
    ]
    return Table("The runs: means with 95\u202f% intervals", ["run", *heads, "measured at", "found"], rows)


def _trusted(side: Side) -> str:
    every = [own for _, found in side.beside.looked for own in found]
    if not side.beside.looked:
        return "nobody looked"
    signs = {"good": "✓", "plain": "✓", "warn": "!", "bad": "✕"}
    return f"{signs[TONES[worst(every)]]} {worst(every)}"


def planes(sides: Sequence[Side]) -> list[Figure]:
    """Return the runs' paths in the planes of reward and accuracy over KL."""
    names = dict.fromkeys(name for side in sides for name in held.gains(side.run.evals))
    figures: list[Figure] = []
    for name in names:
        paths = [
            replace(dots, label=side.label, look=look)
            for look, side in enumerate(sides)
            if (dots := held.against_kl(side.run.evals, name)) is not None
        ]
        figures += [held.plane(name, part) for part in overlay.parts(paths, overlay.TOGETHER)]
    return figures


def _measures(sides: Sequence[Side]) -> list[Block]:
    names = dict.fromkeys(name for side in sides for name in side.measured.after)
    rows: list[list[Cell]] = []
    for name in names:
        unit = f" ({metric(name).unit})" if metric(name).unit else ""
        rows.append([f"{metric(name).label}{unit}", *(side.measured.after.get(name) for side in sides)])
    if not rows:
        return [Prose(["No run was measured on held-out data."])]
    caption = "Last evaluations: means with 95\u202f% intervals"
    return [Table(caption, ["measure", *(side.label for side in sides)], rows)]


def _findings(sides: Sequence[Side]) -> list[Block]:
    """Return what was found about each run: how often each level, and what somebody should look at."""
    rows: list[list[Cell]] = []
    for who, words in (("Preflight", PASSING), ("Audit of the data", None), ("Diagnosis", None)):
        looked = [dict(side.beside.looked).get(who) for side in sides]
        if any(found is not None for found in looked):
            rows.append([who, *(None if found is None else counted(found, words) or "nothing" for found in looked)])
    listed = [[own for _, found in side.beside.looked for own in found] for side in sides]
    names = dict.fromkeys(own.name for found in listed for own in found if own.level in ("look", "stop"))
    for name in names:
        levels = [{own.name: own.level for own in found} for found in listed]
        rows.append([name.replace("_", " "), *(level.get(name) for level in levels)])
    if not rows:
        return []
    return [Table("What was found, by run", ["", *(side.label for side in sides)], rows)]


def _differences(sides: Sequence[Side]) -> list[Block]:
    """Return the settings that are not the same in all runs."""
    flat = [dict(_flat(side.run.config)) for side in sides]
    names = dict.fromkeys(name for own in flat for name in own)
    rows: list[list[Cell]] = []
    for name in names:
        values = [own.get(name) for own in flat]
        if len(set(values)) > 1 and name != "output":
            rows.append([name, *values])
    if not rows:
        return [Prose(["Their settings are the same."])]
    return [Table("Settings that differ", ["setting", *(side.label for side in sides)], rows)]


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, own in value.items():
        if isinstance(own, Mapping):
            yield from _flat(own, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", plain(own)
