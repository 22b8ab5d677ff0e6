"""Results → one HTML page, through the project's page kit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from logratio.report.kit import Block, Facts, Notice, Page, Plot, Prose, Section, Series, Table
from logratio.report.render import render

from .rounds import seconds
from .summary import Case, Line, comparable, lines, of_precisions, quiet, side, titles
from .table import Results, about, agreed, heading, notes, number, percent, ratio


def write(results: Results, path: Path) -> None:
    """Write the page."""
    path.write_text(render(page(results)), encoding="utf-8")


def page(results: Results) -> Page:
    """Return the page as data: one summary table, one section a case."""
    cases = results["cases"]
    named = list(zip(titles(cases), cases, strict=True))
    warnings = [Notice("warn", f"{title}: {said}") for title, case in named if (said := quiet(case))]
    wrong = [Notice("bad", f"{title}: {agreed(case)}") for title, case in named if _disagree(case)]
    machine = results["machine"]
    return Page(
        title="DPO training: logratio against TRL",
        kicker="benchmark",
        headline=f"{len(cases)} case{'s' if len(cases) > 1 else ''} on {machine['cores']} CPU cores, the same weights, "
        "tokens and batches on both sides",
        tone="plain",
        support=f"{machine['processor']}; GPU: {results['gpu']}. TRL/ours is given only where losses agree step by "
        "step.",
        notices=[*wrong, *warnings],
        top=[_overview(named), *_against_size(named)],
        sections=[*(Section(title, _case(case), about(case)[0]) for title, case in named), _rest(results)],
        footer="Made by python -m bench vs-trl; the same numbers stand in results.json beside this page.",
    )


def _disagree(case: Case) -> bool:
    return case["agreement"] is not None and not comparable(case)


def _overview(named: list[tuple[str, Case]]) -> Table:
    chosen = ("reference + training, s", "whole run, s", "peak memory, GB")
    rows: list[list[Any]] = []
    for title, case in named:
        by_name = {line.name: line for line in lines(case)}
        share = by_name["share of the matrix peak, training"]
        rows.append([title, *(ratio(by_name[name].ratio) for name in chosen), *_shares(share)])
    return Table(
        "TRL/ours: median of the repeats [least, most]; share of the matrix peak that is useful work in training",
        ["case", "reference + training", "whole run", "peak memory", "share, ours", "share, TRL"],
        rows,
    )


def _shares(line: Line) -> list[str | None]:
    return [percent(line.ours.median), None if line.peer is None else percent(line.peer.median)]


def _against_size(named: list[tuple[str, Case]]) -> list[Block]:
    """Return the ratio of HH cases over the model's size, where there are two or more."""
    points = []
    for _, case in named:
        found = next(line.ratio for line in lines(case) if line.name == "reference + training, s")
        if case["data"] == "hh" and case["precision"] == "fp32" and found is not None:
            points.append((case["shape"]["body"] / 1e6, found))
    if len(points) < 2:
        return []
    points.sort(key=lambda point: point[0])
    sizes, ratios = [size for size, _ in points], [found for _, found in points]
    series = [
        Series(label, sizes, [getattr(found, name) for found in ratios], points=True, look=look)
        for look, (label, name) in enumerate((("median", "median"), ("least", "low"), ("most", "high")))
    ]
    return [Plot("TRL/ours, reference + training", "", series, x_label="million weights in the body", level=1.0)]


def _case(case: Case) -> list[Block]:
    rows = [_row(line) for line in lines(case)]
    title = f"Medians; TRL: {case['best'] or 'not run'}"
    plots = [
        _over_rounds(case, "Reference and training", "s", seconds),
        _over_rounds(case, "Peak memory", "GB", lambda run: run["peak_memory"] / 1e9),
        _losses(case),
    ]
    table = Table(title, ["", "ours", "TRL", "TRL/ours"], rows)
    return [Prose(about(case)[1:]), table, *plots, Prose(notes(case))]


def _row(line: Line) -> list[Any]:
    show = percent if line.name.startswith("share") else number
    peer = None if line.peer is None else show(line.peer.median)
    return [line.name, show(line.ours.median), peer, ratio(line.ratio)]


def _over_rounds(case: Case, title: str, unit: str, of: Any) -> Plot:
    series = []
    for look, (name, label) in enumerate((("ours", "ours"), ("trl", "TRL"))):
        if runs := side(case, name):
            found = [of(run) for run in runs]
            series.append(Series(label, [run["round"] + 1.0 for run in runs], found, points=True, look=look))
    return Plot(title, unit, series, x_label="repeat")


def _losses(case: Case) -> Plot:
    series = []
    for look, (name, label) in enumerate((("ours", "ours"), ("trl", "TRL"))):
        if runs := side(case, name):
            losses = runs[0]["losses"]
            steps = [float(step) for step in range(1, len(losses) + 1)]
            series.append(Series(label, steps, losses, smooth=False, look=look))
    return Plot("Loss", "", series, agreed(case))


def _rest(results: Results) -> Section:
    pairs = [line.split(":", 1) for line in heading(results).splitlines()[2:]]
    apart = [Prose(said)] if (said := of_precisions(results["cases"])) else []
    return Section("What it was measured with", [*apart, Facts([(name, value.strip()) for name, value in pairs])])
