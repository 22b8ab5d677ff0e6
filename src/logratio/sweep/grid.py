"""From `--grid KEY=VALUE,VALUE` to the runs of a sweep, all of them checked before the first one starts."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError
from ..train.keys import ALIASES, shown
from ..train.recipe import Resolved, resolve

LONGEST = 48
"""Characters of one value in a run's name; a longer one is cut, and told apart by its hash."""


@dataclass(frozen=True)
class Axis:
    """A key of the recipe with the values that it takes.

    Attributes:
        path: Dotted key, as `train.lr`, or the shorthands `objective` and `lora`.
        values: As given, numbers as text.
    """

    path: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
        name: Its directory, a short name of its values.
        values: What it has of each axis, as text.
        resolved: Its recipe, checked; `output` is its directory.
    """

    name: str
    values: Mapping[str, str]
    resolved: Resolved


def axes(grids: Sequence[str]) -> list[Axis]:
    """Read `KEY=VALUE,VALUE,…`, one a key; commas inside brackets and quotes do not part values.

    Raises:
        ConfigError: There is none, one has no values, a key comes twice, or it cannot differ between runs.
    """
    if not grids:
        raise ConfigError(
            "a sweep needs at least one --grid KEY=VALUE,VALUE: it says in what its runs differ; a single run is "
            "`logratio train`."
        )
    found: dict[str, Axis] = {}
    for grid in grids:
        name, equals, text = grid.partition("=")
        path = ALIASES.get(name.strip().replace("-", "_"), name.strip().replace("-", "_"))
        values = tuple(_value(path, part) for part in _parted(text))
        if not equals or not path or not values or "" in values:
            raise ConfigError(f'--grid "{grid}" is not KEY=VALUE,VALUE; write it as objective.beta=0.05,0.1,0.5.')
        if path in ("output", "trackers"):
            raise ConfigError(f"--grid {path} is no difference between runs that could be compared; leave it out.")
        if path in found:
            raise ConfigError(f"`{path}` is given in two grids; put all its values into one.")
        found[path] = Axis(path, values)
    return list(found.values())


def cells(recipe: Mapping[str, Any], overrides: Mapping[str, Any], grid: Sequence[Axis], output: Path) -> list[Cell]:
    """Return the product of the axes as checked runs, the last axis changing fastest.

    Args:
        recipe: The recipe's content.
        overrides: Values by dotted key or alias, for all runs.
        grid: In what they differ.
        output: Folder of the sweep.

    Raises:
        ConfigError: Every problem of every run, one line each, with the values that have it; or two runs are the same.
    """
    spelled = {ALIASES.get(name, name): value for name, value in overrides.items()}
    for axis in grid:
        if axis.path in spelled:
            raise ConfigError(
                f"`{axis.path}` is given both in --grid and by --{axis.path}, and a run can have one value only; "
                "leave one of them out."
            )
    points = [dict(zip([axis.path for axis in grid], values, strict=True)) for values in _product(grid)]
    checked: list[tuple[Mapping[str, Any], Resolved]] = []
    problems: dict[str, list[Mapping[str, Any]]] = {}
    for point in points:
        try:
            checked.append((point, resolve(recipe, {**spelled, **point})))
        except ConfigError as error:
            for line in str(error).splitlines():
                problems.setdefault(line, []).append(point)
    if problems:
        raise ConfigError("\n".join(f"{line}{_where(at, len(points))}" for line, at in problems.items()))
    _refuse_twins(checked)
    return _named(checked, grid, output)


def label(path: str) -> str:
    """Return what an axis is called where there is room for a word: `beta` for `objective.beta`."""
    return "objective" if path == "objective.name" else path.rpartition(".")[2]


def _product(grid: Sequence[Axis]) -> Iterator[tuple[Any, ...]]:
    return itertools.product(*(axis.values for axis in grid))


def _parted(text: str) -> list[str]:
    """Split at commas that stand outside brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for mark in text:
        if quote:
            quote = "" if mark == quote else quote
        elif mark in "'\"":
            quote = mark
        else:
            depth += (mark in "[{") - (mark in "]}")
        if mark == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += mark
    return [part.strip() for part in parts]


def _value(path: str, text: str) -> Any:
    """Read lists, mappings, quoted text and `null` as YAML; the key's own type converts other text."""
    if text == "null" or text[:1] in ("[", "{", "'", '"'):
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--grid {path}: {text} is not valid YAML; check its brackets and quotes.") from None
    return text


def _where(failing: Sequence[Mapping[str, Any]], of: int) -> str:
    """Return what the runs with a problem have in common; nothing where all of them have it."""
    if len(failing) == of:
        return ""
    first, *others = failing
    common = {path: value for path, value in first.items() if all(other[path] == value for other in others)}
    told = ", ".join(f"{path}={as_text(value)}" for path, value in (common or first).items())
    return f" (at {told}{'' if common else f' and {len(others)} more'})"


def _refuse_twins(checked: Sequence[tuple[Mapping[str, Any], Resolved]]) -> None:
    """Refuse two runs that are one.

    Raises:
        ConfigError: Names every pair of values that differ in writing only.
    """
    seen: list[tuple[Mapping[str, Any], Resolved]] = []
    lines: dict[str, None] = {}
    for point, resolved in checked:
        for other, known in seen:
            if known.config == resolved.config:
                differing = [path for path in point if point[path] != other[path]] or list(point)
                pairs = ", ".join(f"`{path}` {as_text(other[path])} and {as_text(point[path])}" for path in differing)
                lines[f"two runs of the grid would be the same: {pairs}; give each value once."] = None
        seen.append((point, resolved))
    if lines:
        raise ConfigError("\n".join(lines))


def _named(checked: Sequence[tuple[Mapping[str, Any], Resolved]], grid: Sequence[Axis], output: Path) -> list[Cell]:
    labels = [label(axis.path) for axis in grid]
    short = {axis.path: label(axis.path) if labels.count(label(axis.path)) == 1 else axis.path for axis in grid}
    out: list[Cell] = []
    for point, resolved in checked:
        values = {path: _resolved_text(resolved, path, value) for path, value in point.items()}
        name = "_".join(f"{short[path]}-{folder_name(value)}" for path, value in values.items())
        if any(cell.name == name for cell in out):
            name += f"-{_digest(repr(values))}"
        config = resolved.config.model_copy(update={"output": str(output / name)})
        out.append(Cell(name, values, replace(resolved, config=config)))
    return out


def _resolved_text(resolved: Resolved, path: str, given: Any) -> str:
    """Return a value as the checked recipe shows it, so that 0.10 and 1e-1 have one name."""
    node: Any = resolved.config.model_dump()
    for part in ("objective.name" if path == "objective" else path).split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return as_text(given if node is None or isinstance(node, (Mapping, list, tuple)) else node)


def as_text(value: Any) -> str:
    """Return a value as a table shows it."""
    if isinstance(value, float) and float(f"{value:g}") != value:
        return repr(value)
    return shown(value) if not isinstance(value, Mapping) else yaml.safe_dump(value, default_flow_style=True).strip()


def folder_name(text: str) -> str:
    """Return a value as part of a folder's name: its last part where it is a path, cut where it is long."""
    plain = re.sub(r"[^A-Za-z0-9.+-]+", "-", Path(text).name if "/" in text else text).strip("-.") or "none"
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 9]}-{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
