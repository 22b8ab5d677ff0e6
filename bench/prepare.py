"""`python -m bench prepare`: reading, validating, tokenising and storing pairs, against the tokenizer library alone."""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from logratio.report.kit import Dots, Facts, Page, Plot, Prose, Scatter, Section, Series, Table
from logratio.report.render import render
from logratio.report.svg import drawing

from . import machine, texts

SIZES = (1_000, 10_000, 100_000)
TARGET, GROWTH, START = 0.80, 200e6, 5.0
WALL, CPU = 0, 1
STAGES = ("reading", "validating", "tokenizer library", "templates, spans, masks", "storing")


def main(arguments: list[str]) -> int:
    """Measure, print, and write `results.json`, `report.html` and the plot of a pair's cost, `cost.svg`."""
    options = _parser().parse_args(arguments)
    try:
        results = _measure(options)
    except (texts.DataMissing, subprocess.CalledProcessError) as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 1
    print(table(results))
    print(f"written: {options.out / 'results.json'}, {options.out / 'report.html'}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench prepare",
        description="Prepare real HH pairs, repeated and made distinct by a number, in fresh processes and caches; the "
        "tokenizer library encodes the same texts in turn. 1,000,000 pairs take about 6 minutes and 5 GB of disk.",
    )
    add = parser.add_argument
    add("--pairs", nargs="+", type=int, default=list(SIZES), help="sizes of the data set")
    add("--repeats", type=int, default=3, help="rounds; sizes above 100,000 have one")
    add("--threads", type=int, default=2, help="of the tokenizer, on both sides")
    add("--short", action="store_true", help="pairs of a few words: what grows with the number of rows, in less time")
    add("--tokenizer", help="folder or hub name; default: GPT-2's, beside the real data")
    add("--clock", choices=("wall", "cpu"), default="wall", help="what ratios are of; cpu on a busy machine")
    add("--scratch", type=Path, help="folder for data and caches, emptied afterwards")
    add("--out", type=Path, default=Path("build") / "bench" / "prepare", help="folder of the results")
    return parser


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    results: dict[str, Any] = {
        "benchmark": "prepare",
        "date": datetime.date.today().isoformat(),
        "machine": machine.describe(options.threads),
        "tokenizer": options.tokenizer or str(texts.folder() / "tokenizers" / "gpt2"),
        "clock": options.clock,
        "texts": "pairs of a few words" if options.short else "HH harmless pairs",
        "runs": [],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    for pairs in options.pairs:
        with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
            data = Path(scratch) / "pairs.jsonl"
            write_pairs(data, pairs, short=options.short)
            for number in range(options.repeats if pairs <= 100_000 else 1):
                for kind in ("bulk", "prepare", "open", "bulk", *(("stages",) if pairs == 10_000 else ())):
                    run = _run(kind, data, pairs, results, options.threads, cache=f"{scratch}/cache{number}")
                    results["runs"].append({**run, "round": number})
                    _say(run)
        (options.out / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
        (options.out / "report.html").write_text(render(page(results)), encoding="utf-8")
        (options.out / "cost.svg").write_text(drawing(cost(results)), encoding="utf-8")
    return results


def write_pairs(path: Path, pairs: int, *, short: bool = False) -> None:
    """Write real HH rows, over and over, each made distinct by its number in the first turn of both transcripts."""
    rows = texts.transcripts("train")
    if short:
        rows = [{"chosen": "\n\nHuman: Hi\n\nAssistant: Yes?", "rejected": "\n\nHuman: Hi\n\nAssistant: No."}]
    with open(path, "w", encoding="utf-8") as file:
        for number in range(pairs):
            row = rows[number % len(rows)]
            made = {key: row[key].replace("\n\nHuman:", f"\n\nHuman: {number}.", 1) for key in ("chosen", "rejected")}
            file.write(json.dumps(made, ensure_ascii=False) + "\n")


def _run(kind: str, data: Path, pairs: int, results: Mapping[str, Any], threads: int, cache: str) -> dict[str, Any]:
    spec = {
        "kind": kind,
        "pairs": pairs,
        "data": str(data),
        "tokenizer": results["tokenizer"],
        "bulk_pairs": min(pairs, 10_000),
        "bulk_batch": 6_144,
        "clock": WALL if results["clock"] == "wall" else CPU,
    }
    own = {"LOGRATIO_CACHE": f"{cache}-stages" if kind == "stages" else cache, "HF_HUB_OFFLINE": "1"}
    own |= {"TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        told, found = Path(folder) / "spec.json", Path(folder) / "found.json"
        told.write_text(json.dumps(spec), encoding="utf-8")
        command = [sys.executable, "-m", "bench.prepare_run", str(told), str(found)]
        subprocess.run(command, check=True, env={**os.environ, **own})
        run: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return run


def _say(run: Mapping[str, Any]) -> None:
    if "seconds" in run:
        wall, cpu = run["seconds"]
        grown = (run["peak_memory"] - run["base_memory"]) / 1e6
        print(f"  {run['pairs']:>9,} {run['kind']:8} {wall:8.2f} s, {cpu:8.2f} s of CPU, {grown:6.0f} MB", flush=True)


def lines(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one line a size: microseconds a pair, share of the library's rate, memory, and time to the first step."""
    found = []
    for pairs in sorted({run["pairs"] for run in results["runs"]}):
        runs = [run for run in results["runs"] if run["pairs"] == pairs]
        own = [run for run in runs if run["kind"] == "prepare"]
        bulk = [run for run in runs if run["kind"] == "bulk"]
        cost = {name: [_each(run, clock) for run in own] for name, clock in (("wall", WALL), ("cpu", CPU))}
        library = {name: [_each(run, clock) for run in bulk] for name, clock in (("wall", WALL), ("cpu", CPU))}
        shares = {
            name: [
                statistics.mean(_each(run, clock) for run in bulk if run["round"] == one["round"]) / _each(one, clock)
                for one in own
            ]
            for name, clock in (("wall", WALL), ("cpu", CPU))
        }
        opened = [run for run in runs if run["kind"] == "open"]
        found.append(
            {
                "pairs": pairs,
                "cost": cost,
                "library": library,
                "share": shares,
                "memory": max(run["peak_memory"] for run in own),
                "grown": max(run["peak_memory"] - run["base_memory"] for run in own),
                "open": [run["seconds"][WALL] for run in opened],
                "open_cpu": [run["seconds"][CPU] for run in opened],
                "open_memory": max(run["peak_memory"] - run["base_memory"] for run in opened),
            }
        )
    return found


def _each(run: Mapping[str, Any], clock: int) -> float:
    """Return a run's microseconds a usable pair."""
    return float(run["seconds"][clock] / run.get("groups", run.get("usable")) * 1e6)


def stages(results: Mapping[str, Any]) -> dict[str, float] | None:
    """Return CPU microseconds a pair of each stage, medians; None where no run took them apart."""
    runs = [run for run in results["runs"] if run["kind"] == "stages"]
    if not runs:
        return None
    found: dict[str, list[float]] = {name: [] for name in STAGES}
    for run in runs:
        rows, records, tokens, shards = (run["passes"][name][CPU] for name in ("rows", "records", "tokens", "shards"))
        bulk = run["bulk"]["seconds"][CPU]
        parts = (rows, records - rows, bulk, tokens - records - bulk, shards - tokens)
        for name, spent in zip(STAGES, parts, strict=True):
            found[name].append(spent / run["pairs"] * 1e6)
    return {name: statistics.median(values) for name, values in found.items()}


COLUMNS = (
    "pairs",
    "µs a pair, wall",
    "µs a pair, CPU",
    "library alone, wall",
    "library alone, CPU",
    "share of its rate, wall",
    "share of its rate, CPU",
    "memory, MB",
    "first step, s",
)


def _rows(results: Mapping[str, Any]) -> list[list[str]]:
    middle = statistics.median
    return [
        [
            f"{line['pairs']:,}",
            f"{middle(line['cost']['wall']):.0f}",
            f"{middle(line['cost']['cpu']):.0f}",
            f"{middle(line['library']['wall']):.0f}",
            f"{middle(line['library']['cpu']):.0f}",
            _spread(line["share"]["wall"]),
            _spread(line["share"]["cpu"]),
            f"{line['memory'] / 1e6:.0f} ({line['grown'] / 1e6:+.0f})",
            f"{middle(line['open']):.2f}",
        ]
        for line in lines(results)
    ]


def _spread(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):.0%}" + (f" ({low:.0%}–{high:.0%})" if len(values) > 1 else "")


def table(results: Mapping[str, Any]) -> str:
    """Return the results as text."""
    rows = [list(COLUMNS), *_rows(results)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
    shown = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    parts = stages(results)
    if parts:
        total = sum(parts.values())
        shown.append("CPU by stage, µs a pair: " + ", ".join(f"{name} {spent:.0f}" for name, spent in parts.items()))
        shown.append(f"  of {total:.0f}, the tokenizer library {parts['tokenizer library'] / total:.0%}")
    return "\n".join([*shown, *targets(results)])


def targets(results: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each target: what was found against it."""
    found = {line["pairs"]: line for line in lines(results)}
    largest = found[max(found)]
    share = statistics.median(found[max(found)]["share"][results["clock"]])
    said = [f"share of the library's rate at {largest['pairs']:,} pairs: {share:.0%} (target {TARGET:.0%})"]
    if 10_000 in found and largest["pairs"] > 10_000:
        grown = largest["memory"] - found[10_000]["memory"]
        said.append(
            f"memory at {largest['pairs']:,} pairs over 10,000: {grown / 1e6:+.0f} MB (target {GROWTH / 1e6:.0f})"
        )
    said.append(
        f"first step at {largest['pairs']:,} pairs: {statistics.median(largest['open']):.2f} s (target {START:.0f} s)"
    )
    return said


def cost(results: Mapping[str, Any]) -> Scatter:
    """Return what a pair costs by the size of the data set, from nothing upwards."""
    found, clock = lines(results), results["clock"]
    xs = [math.log10(line["pairs"] / 1000) for line in found]

    def dots(label: str, values: Sequence[Sequence[float]], look: int) -> Dots:
        low, middle, high = ([pick(each) for each in values] for pick in (min, statistics.median, max))
        return Dots(label, xs, middle, low=low, high=high, joined=True, look=look)

    own, library = ([line[name][clock] for line in found] for name in ("cost", "library"))
    zero = Dots("zero", [xs[0], xs[-1]], [0.0, 0.0], joined=True, bare=True, look=2)
    drawn = [dots("logratio", own, 0), dots("tokenizer library alone", library, 1), zero]
    return Scatter(
        "Cost of a pair", f"thousands of pairs, as a power of ten; {results['texts']}", f"µs, {clock}", drawn
    )


def page(results: Mapping[str, Any]) -> Page:
    """Return the results as a page."""
    found = lines(results)
    xs = [float(line["pairs"]) for line in found]

    def series(label: str, values: Sequence[Sequence[float]], look: int = 0) -> Series:
        return Series(
            label,
            xs,
            [statistics.median(each) for each in values],
            [min(each) for each in values],
            [max(each) for each in values],
            points=True,
            smooth=False,
            look=look,
        )

    clock = results["clock"]
    costs = [
        series("logratio", [line["cost"][clock] for line in found]),
        series("tokenizer library alone", [line["library"][clock] for line in found], 1),
    ]
    memory = Series("growth while preparing", xs, [line["grown"] / 1e6 for line in found], points=True, smooth=False)
    blocks = [
        Plot(f"Cost of a pair, {clock}", "µs", costs, x_label="pairs"),
        Plot("Memory", "MB", [memory], x_label="pairs"),
        Plot(
            "From cached tokens to the first step's groups",
            "s",
            [series("wall", [line["open"] for line in found])],
            x_label="pairs",
        ),
    ]
    parts = stages(results) or {}
    by_stage = Table(
        "CPU by stage, µs a pair", ["stage", "µs"], [[name, f"{spent:.0f}"] for name, spent in parts.items()]
    )
    told = results["machine"]
    facts = [
        ("processor", told["processor"]),
        ("cores", str(told["cores"])),
        ("tokenizer's threads", str(told["threads"])),
    ]
    facts += [("texts", results["texts"]), ("tokenizer", Path(results["tokenizer"]).name), ("date", results["date"])]
    return Page(
        title="Preparing preference pairs",
        kicker="python -m bench prepare",
        headline=targets(results)[0],
        tone="plain",
        support="; ".join(targets(results)[1:]),
        notices=[],
        top=blocks[:1],
        sections=[
            Section("Sizes", [Table("Medians (least–most)", list(COLUMNS), _rows(results)), *blocks[1:]]),
            Section(
                "Stages", [by_stage] if parts else [Prose(["not taken apart: needs 10,000 pairs among the sizes"])]
            ),
            Section("What it was measured with", [Facts(facts)]),
        ],
    )
