"""Results → text: a table a case, with what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .rounds import trial_line
from .summary import Case, Line, Spread, comparable, lines, of_precisions, peak, quiet, titles

Results = Mapping[str, Any]
MISSING = "–"


def text(results: Results) -> str:
    """Return everything as text, ready to print."""
    parts = [heading(results)]
    for title, case in zip(titles(results["cases"]), results["cases"], strict=True):
        parts.append("\n".join([f"## {title}", "", *about(case), "", *rows(case), "", *notes(case)]))
    parts += of_precisions(results["cases"])
    return "\n\n".join(parts) + "\n"


def heading(results: Results) -> str:
    """Return hardware, versions and what was not measured."""
    machine = results["machine"]
    return "\n".join(
        [
            f"DPO training, logratio against TRL, {results['date']}",
            "",
            f"machine: {machine['processor']}, {machine['cores']} cores, {machine['threads']} threads used, "
            f"{(machine['memory'] or 0) / 2**30:.0f} GiB, {machine['system']}",
            f"ours:    {_versions(results['versions']['ours'])}"
            + (f"; commit {machine['commit']}" if machine.get("commit") else ""),
            f"TRL:     {_versions(results['versions']['trl']) or 'not run'}",
            f"GPU:     {results['gpu']}",
        ]
    )


def about(case: Case) -> list[str]:
    """Return lines on model, data and hardware of a case."""
    shape, facts = case["shape"], case["workload"]
    settings = case["settings"]
    return [
        f"Llama, random weights: hidden {shape['hidden']}, {shape['layers']} layers, {shape['heads']} heads, "
        f"{shape['kv_heads']} key-value heads, MLP {shape['inner']}, vocabulary {shape['vocabulary']}, "
        f"{'tied' if shape['tied'] else 'untied'}",
        f"{facts['form']}: {facts['pairs']} pairs, {facts['steps']} steps, {facts['unique_tokens']} unique tokens of "
        f"which {facts['scored_tokens']} scored; prompt {facts['prompt_mean']:.0f}, response "
        f"{facts['response_mean']:.0f} tokens in the mean; {facts['tokenizer']}",
        f"DPO, beta {settings['beta']}, AdamW, constant rate {settings['lr']:g}, clip {settings['clip']:g}, one epoch, "
        f"reference pass included; {case['precision']}; matrix peak {peak(case) / 1e9:.0f} GFLOP/s (2048³, best)",
    ]


def rows(case: Case) -> list[str]:
    """Return the table's lines: median over the repeats, and TRL/ours as median [least, most]."""
    titled = "TRL" + (f" ({case['best']})" if case["best"] else "")
    table = [["", "ours", titled, "TRL/ours"], *map(_cells, lines(case))]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    aligned = [
        "| " + " | ".join([row[0].ljust(widths[0]), *(row[n].rjust(widths[n]) for n in (1, 2, 3))]) + " |"
        for row in table
    ]
    rule = "| " + "-" * widths[0] + " | " + " | ".join("-" * (widths[n] - 1) + ":" for n in (1, 2, 3)) + " |"
    return [aligned[0], rule, *aligned[1:]]


def _cells(line: Line) -> list[str]:
    show = percent if line.name.startswith("share") else number
    peer = MISSING if line.peer is None else show(line.peer.median)
    return [line.name, show(line.ours.median), peer, ratio(line.ratio) or MISSING]


def ratio(spread: Spread | None) -> str | None:
    """Return `median [least, most]`; None where there is no ratio."""
    return None if spread is None else f"{spread.median:.2f} [{spread.low:.2f}, {spread.high:.2f}]"


def notes(case: Case) -> list[str]:
    """Return what a reader must know beside the numbers."""
    found = [agreed(case)]
    if said := quiet(case):
        found.append(said)
    repeats = len({run["round"] for run in case["runs"]})
    found.append(f"Medians of {repeats} repeat{'s' if repeats > 1 else ''} in turn, each side in a fresh process.")
    work = case["work"]["training"]
    found.append(
        f"Useful work of training: body {work['body'] / 1e9:.0f} + head {work['head'] / 1e9:.0f} GFLOP; products of "
        f"attention, {work['attention'] / 1e9:.0f} GFLOP, are not counted in it."
    )
    found += [f"Trial of TRL on the first step and its reference, {trial_line(run)}" for run in case["trials"]]
    for name, side in (("ours", "ours"), ("TRL", "trl")):
        paths = [run["path"] for run in case["runs"] if run["side"] == side]
        found += [f"{name}: {line}" for line in (paths[0] if paths else [])]
    return found


def agreed(case: Case) -> str:
    """Return a sentence on how far the losses of the two sides are apart."""
    found = case["agreement"]
    if found is None:
        return "Our side alone: nothing to compare with."
    limit = f"tolerance {found['tolerance']:g}"
    if found["worst"] is None:
        return f"LOSSES DISAGREE (one of step {found['step']} is missing or no number), so no ratio is given."
    if found["moved"] <= found["tolerance"]:
        return f"Losses move by {found['moved']:.1e} only ({limit}), so that agreeing means nothing: no ratio is given."
    apart = f"{found['worst']:.1e} at step {found['step']}"
    if comparable(case):
        return (
            f"Losses agree step by step: largest relative difference {apart} ({limit}), where they move by "
            f"{found['moved']:.1e}."
        )
    return f"LOSSES DISAGREE ({apart}, {limit}), so no ratio is given."


def number(value: float) -> str:
    """Return three significant digits, more where the whole part has more."""
    digits = next((n for n, least in ((0, 100), (1, 10), (2, 1)) if value >= least), 3)
    return f"{value:.{digits}f}"


def percent(value: float) -> str:
    """Return a share as a percentage."""
    return f"{100 * value:.1f} %"


def _versions(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())
