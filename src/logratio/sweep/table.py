"""What the runs of a sweep came to, side by side: columns of a table, and what must be known to read it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..report.kit import Cell, Interval
from ..report.names import ACCURACY, KL, LENGTH, LOSS, NLL
from ..report.read import as_number, interval
from ..report.text import shown
from .grid import label
from .record import Entry

MEASURES = (ACCURACY, "margin", "logratio_desirable", "logratio_undesirable", NLL, KL, LENGTH, LOSS)
"""Measures of the final evaluation that the table has, those that any run measured."""

HEADS = {
    ACCURACY: "accuracy",
    "margin": "margin",
    "logratio_desirable": "log-ratio, desirable",
    "logratio_undesirable": "log-ratio, undesirable",
    NLL: "loss per token",
    KL: "KL",
    LENGTH: "length",
    LOSS: "loss",
}

UNITS = (
    "Loss and margin are in units of each run's own objective, so they do not compare between runs that differ in it; "
    "accuracy, log-ratios, KL and length do."
)

GAP = 2
"""Spaces between columns of the printed table."""


def measures(runs: Sequence[Entry]) -> list[str]:
    """Return the measures that some run has, in the order of columns; several loss terms are among them."""
    terms = dict.fromkeys(name for run in runs for name in run["evaluation"] if name.startswith("loss_"))
    return [name for name in (*MEASURES, *terms) if any(interval(run["evaluation"], name) for run in runs)]


def columns(runs: Sequence[Entry]) -> list[str]:
    """Return the headings: the axes, the measures, and what each run cost."""
    return [*map(label, _axes(runs)), *(HEADS.get(name, name) for name in measures(runs)), "time", "reference"]


def cells(runs: Sequence[Entry]) -> list[list[Cell]]:
    """Return one row a run; a run that did not finish has its status in place of measures."""
    names = measures(runs)
    rows: list[list[Cell]] = []
    for run in runs:
        found: list[Cell] = [interval(run["evaluation"], name) for name in names]
        if run["status"] != "finished":
            found = [run["status"], *[None] * (len(names) - 1)] if names else []
        rows.append([*run["values"].values(), *found, duration(run["seconds"]), run["reference"]])
    return rows


def lines(runs: Sequence[Entry], width: int) -> list[str]:
    """Return the table as text, its columns broken into parts that fit; each part begins with the axes."""
    table = [columns(runs), *([shown(cell) for cell in row] for row in cells(runs))]
    fixed = len(_axes(runs))
    widths = [max(len(row[at]) for row in table) for at in range(len(table[0]))]
    out: list[str] = []
    at = fixed
    while at < len(widths):
        end = at + 1
        while end < len(widths) and sum(widths[i] + GAP for i in (*range(fixed), *range(at, end + 1))) <= width:
            end += 1
        for row in table:
            out.append("".join(row[i].ljust(widths[i] + GAP) for i in (*range(fixed), *range(at, end))).rstrip())
        out.append("")
        at = end
    return out[:-1]


def duration(seconds: float) -> str:
    """Return seconds as 0.7 s, 42 s, 3 min 5 s or 2 h 10 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def value(run: Entry, name: str) -> Interval | None:
    """Return one measure of a finished run's evaluation."""
    return interval(run["evaluation"], name) if run["status"] == "finished" else None


def called(run: Entry) -> str:
    """Return what a run is called in a sentence, `beta 0.1, lr 1e-6`, without a break between a key and its value."""
    return ", ".join(f"{label(path)}\u00a0{text}" for path, text in run["values"].items())


def differ_in_objective(runs: Sequence[Entry]) -> bool:
    """Whether the runs minimise different losses, be it by a setting alone."""
    return any(path.startswith("objective") for path in _axes(runs))


def cautions(runs: Sequence[Entry], folder: Path) -> list[str]:
    """Return sentences on what makes numbers of different runs hard to compare."""
    paths = set(_axes(runs))
    said = []
    if "train.seed" in paths and all(run["config"]["eval"]["data"] is None for run in runs):
        said.append(
            "`train.seed` also chooses the prompts that are held out, so runs of different seeds are measured on "
            "different prompts; name rows to evaluate on with `eval.data` to measure all on the same."
        )
    done = [run for run in runs if run["status"] == "finished"]
    without = [run for run in done if ACCURACY not in run["evaluation"]]
    if without and len(without) < len(done):
        said.append(
            f"Accuracy inside a run is not measured by every objective ({'; '.join(map(called, without))}); "
            "`logratio eval RUN --data FILE` measures any run against its start."
        )
    return [*said, *_mixed(runs, folder)]


def _mixed(runs: Sequence[Entry], folder: Path) -> list[str]:
    """Say so where the content under one name changed while the sweep went on."""
    seen: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        config, manifest = run["config"], _manifest(folder / run["name"])
        read = {key: config[key] for key in ("data", "tokens", "rows", "template", "model")}
        objective = manifest.get("objective", {})
        if found := manifest.get("data", {}).get("fingerprint"):
            seen.setdefault(("data", json.dumps([read, objective.get("name")], sort_keys=True)), set()).add(found)
        if found := manifest.get("model", {}).get("fingerprint"):
            seen.setdefault(("model", config["model"]), set()).add(found)
        if found := objective.get("origin"):
            seen.setdefault(("objective", config["objective"]["name"]), set()).add(found)
    changed = dict.fromkeys(what for (what, _), found in seen.items() if len(found) > 1)
    return [
        f"The {what} changed between runs under the same name, so they do not compare; run the sweep again into "
        "another folder."
        for what in changed
    ]


def _manifest(directory: Path) -> Mapping[str, Any]:
    try:
        manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _axes(runs: Sequence[Entry]) -> list[str]:
    return list(runs[0]["values"])


def position(text: str) -> float | None:
    """Return a value of an axis as a number, None where it is none."""
    try:
        return as_number(float(text))
    except ValueError:
        return None
