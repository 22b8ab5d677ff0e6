"""All families over a history, and a run directory read for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ..errors import RunError
from ..files import write_json
from ..findings import LEVELS, Finding, Past
from .calibration import calibration
from .collapse import collapse
from .displacement import displacement
from .drift import drift
from .fitting import label_noise, overfitting, saturation
from .growth import overoptimisation
from .history import About, Digest, History
from .length import length
from .pace import beta, learning_rate
from .signal import reversed_labels, signal

Family = Callable[[History], Finding | None]

FAMILIES: tuple[Family, ...] = (
    signal,
    reversed_labels,
    learning_rate,
    beta,
    collapse,
    overfitting,
    label_noise,
    overoptimisation,
    length,
    displacement,
    drift,
    saturation,
    calibration,
)
"""Everything that is looked at; where two findings have the same level, the earlier one is likelier to be the cause."""

FILE = "findings.json"


class Course:
    """Takes what was found after each evaluation of a run, and remembers how grave each finding was at its gravest."""

    def __init__(self) -> None:
        self._gravest: dict[str, Past] = {}

    def after(self, step: int, found: Sequence[Finding]) -> list[Finding]:
        """Return the findings of an evaluation, with their past where one of level look or stop was graver than now."""
        for own in found:
            known = self._gravest.get(own.name)
            if known is None or LEVELS.index(own.level) > LEVELS.index(known.level):
                self._gravest[own.name] = Past(own.level, step, own.says)
        return [replace(own, past=self._past(own)) for own in found]

    def _past(self, own: Finding) -> Past | None:
        known = self._gravest[own.name]
        worse = LEVELS.index(known.level) > max(LEVELS.index(own.level), LEVELS.index("note"))
        return known if worse else None


def diagnose(history: History) -> list[Finding]:
    """Return one finding a family that the metrics allow, the gravest first.

    Args:
        history: The run so far; an evaluation at step 0 is what changes are measured from.
    """
    if not history.windows or history.step == 0:
        return []
    found = [finding for family in FAMILIES if (finding := family(history)) is not None]
    return sorted(found, key=lambda finding: -LEVELS.index(finding.level))


def diagnose_run(directory: Path) -> list[Finding]:
    """Diagnose a run from its files, as it stands and as it stood after each evaluation.

    Raises:
        RunError: It is no run directory, or the run was never evaluated.
    """
    rows = _rows(directory)
    config = yaml.safe_load((directory / "config.yaml").read_text(encoding="utf-8")) or {}
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    about, digest, course, found = About.of(config, manifest.get("steps")), Digest(), Course(), list[Finding]()
    for row in rows:
        digest.add(row)
        if row.get("kind") == "eval":
            history = digest.history(about)
            found = course.after(history.step, diagnose(history))
    if digest.history(about).step == 0:
        raise RunError(
            f"{directory} holds no evaluation after a step, so there is nothing to compare; it needs held-out data "
            "(eval.holdout or eval.data) and to have come as far as every.eval."
        )
    return found


def write_findings(directory: Path, findings: list[Finding]) -> None:
    """Write `findings.json`, a list, into a run directory."""
    write_json(directory / FILE, [finding.as_json() for finding in findings])


def _rows(directory: Path) -> Iterator[dict[str, Any]]:
    """Return the rows of a run's metrics.

    Raises:
        RunError: It is no run directory.
    """
    missing = [name for name in ("config.yaml", "manifest.json", "metrics.jsonl") if not (directory / name).is_file()]
    if missing:
        raise RunError(
            f"{directory} is no run directory: it holds no {missing[0]}; give the folder that `logratio train` wrote."
        )
    return _read(directory / "metrics.jsonl")


def _read(file: Path) -> Iterator[dict[str, Any]]:
    with open(file, encoding="utf-8") as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:  # the last line of a killed run may be half a line
                continue
            if isinstance(row, dict):
                yield row
