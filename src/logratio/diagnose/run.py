"""All families over a history, and a run directory read for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from ..errors import RunError
from ..files import write_json
from ..findings import LEVELS, Finding
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
    """Diagnose a run from its files.

    Raises:
        RunError: It is no run directory, or the run was never evaluated.
    """
    digest = Digest()
    for row in _rows(directory):
        digest.add(row)
    config = yaml.safe_load((directory / "config.yaml").read_text(encoding="utf-8")) or {}
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    history = digest.history(About.of(config, manifest.get("steps")))
    if history.step == 0:
        raise RunError(
            f"{directory} holds no evaluation after a step, so there is nothing to compare; it needs held-out data "
            "(eval.holdout or eval.data) and to have come as far as every.eval."
        )
    return diagnose(history)


def write_findings(directory: Path, findings: list[Finding]) -> None:
    """Write `findings.json`, a list, into a run directory."""
    write_json(directory / FILE, [finding.as_json() for finding in findings])


def _rows(directory: Path) -> Iterator[dict[str, Any]]:
    missing = [name for name in ("config.yaml", "manifest.json", "metrics.jsonl") if not (directory / name).is_file()]
    if missing:
        raise RunError(
            f"{directory} is no run directory: it holds no {missing[0]}; give the folder that `logratio train` wrote."
        )
    with open(directory / "metrics.jsonl", encoding="utf-8") as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:  # the last line of a killed run may be half a line
                continue
            if isinstance(row, dict):
                yield row
