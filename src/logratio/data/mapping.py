"""`--map chosen=a.b.c`: rows seen under the names that formats know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError, nearest

_ABSENT = object()


def check_map(paths: Mapping[str, str], known: tuple[str, ...]) -> None:
    """Check a map's fields and paths.

    Raises:
        ConfigError: A field that no format reads, or an empty path.
    """
    for field, path in paths.items():
        if field not in known:
            raise ConfigError(f'--map {field}={path}: no format reads the field "{field}"; {nearest(field, known)}')
        if not all(path.split(".")):
            raise ConfigError(
                f'--map {field}={path}: "{path}" is no path; write column.key.0 with names and list indices.'
            )


def mapped(row: Mapping[str, Any], paths: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the row with each field taken from its path; a column that is renamed as a whole loses its old name.

    A path that leads nowhere leaves its field out, so that the row is reported as lacking it.
    """
    if not paths:
        return row
    moved = {path for path in paths.values() if path in row}
    renamed = {key: value for key, value in row.items() if key not in moved and key not in paths}
    found = {field: value_at(row, path) for field, path in paths.items()}
    return renamed | {field: value for field, value in found.items() if value is not _ABSENT}


def value_at(row: Mapping[str, Any], path: str) -> Any:
    """Return what `path` leads to: a column called just so, else keys and list indices joined by dots."""
    if path in row:
        return row[path]
    value: Any = row
    for step in path.split("."):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, (list, tuple)) and _is_index(step) and -len(value) <= int(step) < len(value):
            value = value[int(step)]
        else:
            return _ABSENT
    return value


def _is_index(step: str) -> bool:
    return step.removeprefix("-").isdecimal()
