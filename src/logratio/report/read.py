"""A run directory as a report reads it: tolerant of what is absent, silent about nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import RunError
from .kit import Interval
from .names import metric

Row = Mapping[str, Any]


@dataclass(frozen=True)
class RunFiles:
    """What a run left behind.

    Attributes:
        path: The run directory.
        config_text: `config.yaml` as written, "" if absent.
        config: The same, parsed.
        manifest: `manifest.json`.
        train: Rows of `metrics.jsonl` of kind "train", by step.
        evals: Rows of kind "eval", by step.
        samples: Rows of `samples.jsonl`.
        evaluation: `evaluation.json`, {} if absent.
        problems: A sentence for everything absent or unreadable.
    """

    path: Path
    config_text: str
    config: Row
    manifest: Row
    train: tuple[Row, ...]
    evals: tuple[Row, ...]
    samples: tuple[Row, ...]
    evaluation: Row
    problems: tuple[str, ...]


def read_run(path: Path) -> RunFiles:
    """Read a run directory.

    Raises:
        RunError: There is no readable `manifest.json`, so this is no run directory.
    """
    manifest = _manifest(path)
    problems: list[str] = []
    metrics = json_lines(path / "metrics.jsonl", problems)
    samples = json_lines(path / "samples.jsonl", problems)
    config_text, config = _config(path / "config.yaml", problems)
    return RunFiles(
        path=path,
        config_text=config_text,
        config=config,
        manifest=manifest,
        train=_of_kind(metrics, "train"),
        evals=_of_kind(metrics, "eval"),
        samples=tuple(row for row in samples if isinstance(row.get("step"), int) and "text" in row),
        evaluation=_evaluation(path / "evaluation.json", problems),
        problems=tuple(problems),
    )


def interval(row: Row, name: str) -> Interval | None:
    """Return one metric of an evaluation row, or None where it was not measured.

    A bare number has no interval; a mean that is not finite counts as not measured.
    """
    value, share = row.get(name), metric(name).share
    if not isinstance(value, Mapping):
        bare = as_number(value)
        return None if bare is None else Interval(bare, share=share)
    mean, low, high, n = (as_number(value.get(key)) for key in ("mean", "low", "high", "n"))
    if mean is None:
        return None
    whole = low is not None and high is not None
    return Interval(
        mean,
        low if whole else None,
        high if whole else None,
        n=None if n is None else int(n),
        share=share,
        alike=as_number(value.get("se")) == 0,
    )


def as_number(value: Any) -> float | None:
    """Return a finite number as a float, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _manifest(path: Path) -> Row:
    file = path / "manifest.json"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(
            f"{path} is no run directory: it holds no manifest.json; give the folder that `logratio train` wrote."
        ) from error
    except ValueError as error:
        raise RunError(f"{file} is not readable as JSON ({error}); a report cannot say what was run.") from error
    if not isinstance(manifest, dict):
        raise RunError(f"{file} holds no JSON object; a report cannot say what was run.")
    return manifest


def _config(file: Path, problems: list[str]) -> tuple[str, Row]:
    if not file.exists():
        problems.append(f"{file.name} is absent, so the settings are not shown.")
        return "", {}
    text = file.read_text(encoding="utf-8", errors="replace")
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError:
        config = None
    if not isinstance(config, dict):
        problems.append(f"{file.name} is not readable as settings; it is shown as it is.")
        return text, {}
    return text, config


def _evaluation(file: Path, problems: list[str]) -> Row:
    if not file.exists():
        return {}
    try:
        value = json.loads(file.read_text(encoding="utf-8", errors="replace"))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        problems.append(f"{file.name} is not readable as a JSON object and is left out.")
        return {}
    return value


def json_lines(file: Path, problems: list[str]) -> list[Row]:
    """Read JSON lines; a line that is no JSON object is left out and counted."""
    if not file.exists():
        problems.append(f"{file.name} is absent.")
        return []
    rows: list[Row] = []
    broken = 0
    with open(file, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                row = json.loads(line) if line.strip() else None
            except ValueError:
                row = False
            if isinstance(row, dict):
                rows.append(row)
            elif row is not None:
                broken += 1
    if broken:
        problems.append(f"{file.name}: {broken} of {broken + len(rows)} lines are not readable and are left out.")
    return rows


def _of_kind(rows: list[Row], kind: str) -> tuple[Row, ...]:
    kept = (row for row in rows if row.get("kind") == kind and isinstance(row.get("step"), int))
    return tuple(sorted(kept, key=lambda row: int(row["step"])))
