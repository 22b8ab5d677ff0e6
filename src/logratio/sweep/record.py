"""`sweep.json`: what a sweep was asked for, and what became of each of its runs."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..files import write_json
from ..train.keys import shown
from .grid import Cell

NAME = "sweep.json"

Entry = dict[str, Any]
"""One run: name, values, status (waiting, running, finished, interrupted, failed), error, seconds, reference, step,
config (checked, not yet settled), evaluation and before (as in its evaluation.json)."""

CHANGES = 4
"""Changed keys that a refusal names; further ones are counted."""


@dataclass(frozen=True)
class Given:
    """What a sweep was asked for, enough to ask for it again.

    Attributes:
        recipe: The recipe's content.
        overrides: Values by dotted key or alias.
        grids: As `KEY=VALUE,VALUE`.
    """

    recipe: Mapping[str, Any]
    overrides: Mapping[str, Any]
    grids: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in `sweep.json`."""
        return {"recipe": dict(self.recipe), "overrides": dict(self.overrides), "grid": list(self.grids)}


class Record:
    """The file, held by one process; every change is on disk when `save` returns.

    Attributes:
        folder: Of the sweep.
        given: What it was asked for.
        entries: Its runs, in the order of the grid.
        others: Runs of other grids in the same folder.
    """

    def __init__(self, folder: Path, given: Given, entries: list[Entry], others: list[Entry]) -> None:
        self.folder, self.given, self.entries, self.others = folder, given, entries, others

    def save(self) -> None:
        """Write the file."""
        write_json(self.folder / NAME, self.document())

    def document(self) -> dict[str, Any]:
        """Return what is written."""
        return {"given": self.given.to_json(), "runs": self.entries, "others": self.others}


@contextmanager
def claimed(folder: Path, given: Given, cells: Sequence[Cell]) -> Iterator[Record]:
    """Hold a sweep's folder, with what earlier attempts at these runs left; runs of other values stay as they are.

    Raises:
        RunError: The folder cannot be written, is in use, or holds something else; or a run of that name was made, or
            begun, by another recipe.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w", encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"output {folder} cannot be written ({error.strerror}); choose a folder you can write to with --output."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                f"{folder} is in use by another process; wait for it, or choose another --output."
            ) from error
        known = {entry["name"]: entry for entry in _begun(folder)}
        _refuse_strangers(folder, cells, known)
        _refuse_changed(folder, cells, known)
        entries = [known.get(cell.name) or _fresh(cell) for cell in cells]
        names = {cell.name for cell in cells}
        yield Record(folder, given, entries, [entry for name, entry in known.items() if name not in names])


def given_of(folder: Path) -> Given:
    """Return what an earlier attempt was asked for.

    Raises:
        RunError: The folder holds no sweep.
    """
    document = _document(folder)
    if document is None:
        raise RunError(f"{folder} holds no sweep ({NAME} is missing), so nothing can be resumed; check the path.")
    given = document["given"]
    return Given(given["recipe"], given["overrides"], given["grid"])


def _document(folder: Path) -> dict[str, Any] | None:
    file = folder / NAME
    try:
        document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise RunError(f"{file} is not readable as JSON ({error}); choose another --output.") from error
    if not {"given", "runs"} <= document.keys():
        raise RunError(f"{file} is not what a sweep writes; choose another --output.")
    return document


def _begun(folder: Path) -> list[Entry]:
    """Return the runs that can be continued or compared; one that never wrote its recipe starts anew."""
    document = _document(folder) or {"runs": []}
    entries: list[Entry] = [*document["runs"], *document.get("others", [])]
    return [entry for entry in entries if (folder / entry["name"] / "config.yaml").exists()]


def _fresh(cell: Cell) -> Entry:
    return {
        "name": cell.name,
        "values": dict(cell.values),
        "status": "waiting",
        "error": None,
        "seconds": 0.0,
        "reference": None,
        "step": 0,
        "config": _config(cell),
        "evaluation": {},
        "before": {},
    }


def _config(cell: Cell) -> dict[str, Any]:
    return {**cell.resolved.config.model_dump(mode="json"), "output": None}


def _refuse_strangers(folder: Path, cells: Sequence[Cell], known: Mapping[str, Entry]) -> None:
    """Refuse a run directory that this sweep knows nothing of: it may be of any recipe."""
    found = [cell.name for cell in cells if cell.name not in known and (folder / cell.name / "config.yaml").exists()]
    if found:
        raise RunError(
            f"{folder / found[0]} holds a run that is not in {folder / NAME}, so what made it is not known; "
            "choose another --output."
        )


def _refuse_changed(folder: Path, cells: Sequence[Cell], known: Mapping[str, Entry]) -> None:
    """Refuse a recipe that is not the one of the runs that are there: they could not be compared."""
    for cell in cells:
        began = known.get(cell.name)
        if began is None:
            continue
        before, now = _flat(began["config"]), _flat(_config(cell))
        changed = [path for path in {**before, **now} if before.get(path) != now.get(path)]
        if changed:
            told = [f"{path} was {shown(before.get(path))}, now {shown(now.get(path))}" for path in changed[:CHANGES]]
            more = f" and {len(changed) - CHANGES} more" if len(changed) > CHANGES else ""
            raise RunError(
                f"{folder} holds runs of another recipe, which could not be compared with new ones ({', '.join(told)}"
                f"{more}); put it back, or choose another --output."
            )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
