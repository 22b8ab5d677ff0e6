"""The whole table: every row in every column, and its JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, nearest
from .cells import Cell, cell
from .entries import Entry, entries
from .regimes import Regime, regimes
from .samples import Convergence, convergence


@dataclass(frozen=True)
class Lab:
    """A filled table.

    Attributes:
        rows: Objectives with their settings.
        columns: Regimes.
        cells: By (row label, regime name).
        convergences: By row label; None where unlimited data has no attained optimum.
        seconds: Wall time of filling it.
    """

    rows: Sequence[Entry]
    columns: Sequence[Regime]
    cells: dict[tuple[str, str], Cell]
    convergences: dict[str, Convergence | None]
    seconds: float

    def document(self) -> dict[str, Any]:
        """Return the table as JSON."""
        return {
            "objectives": {
                row.label: {"name": row.name, "settings": row.settings.model_dump(), "loss": row.objective.formula}
                for row in self.rows
            },
            "regimes": {column.name: column.about for column in self.columns},
            "cells": [found.row() for found in self.cells.values()],
            "convergence": [found.row() for found in self.convergences.values() if found is not None],
            "seconds": round(self.seconds, 1),
        }


def fill(
    names: Sequence[str] = (),
    regime_names: Sequence[str] = (),
    *,
    sizes: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> Lab:
    """Fill the table.

    Args:
        names: Objectives; empty: all that have a population form.
        regime_names: Regimes; empty: all.
        sizes: Whether finite samples are drawn too.
        say: Told of each row before it is computed.

    Raises:
        ConfigError: No such objective or regime, with the nearest name; or an objective that has no row.
    """
    began = time.monotonic()
    known = regimes()
    for name in regime_names:
        if name not in known:
            raise ConfigError(f'regime "{name}" does not exist; {nearest(name, tuple(known))}')
    rows = entries(tuple(names))
    columns = [known[name] for name in regime_names or known]
    cells: dict[tuple[str, str], Cell] = {}
    convergences: dict[str, Convergence | None] = {}
    for row in rows:
        say(row.label)
        cells |= {(row.label, column.name): cell(row, column) for column in columns}
        if sizes:
            convergences[row.label] = convergence(row)
    return Lab(rows, columns, cells, convergences, time.monotonic() - began)


def commands(found: Cell, row: Entry) -> str:
    """Return the command that computes one cell again."""
    return f"logratio lab {row.name} --regime {found.regime}"


def rows_of(lab: Lab) -> Iterator[tuple[Entry, list[Cell]]]:
    """Yield each row with its cells in the order of columns."""
    for row in lab.rows:
        yield row, [lab.cells[row.label, column.name] for column in lab.columns]
