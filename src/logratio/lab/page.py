"""The table as a page: every cell leads to its figures, the definition and the command that computes it again."""

from __future__ import annotations

import math

from ..report.kit import Cell as Shown
from ..report.kit import Facts, Linked, Page, Plot, Prose, Section, Series, Table
from .cells import Cell
from .entries import Entry
from .table import Lab, commands, rows_of
from .text import LEGEND, brief, slope

CURVES = 4
"""Curves in one plot: as many as marks tell apart."""


def compose(lab: Lab) -> Page:
    """Return the laboratory as a page."""
    exact = [row.label for row, cells in rows_of(lab) for cell in cells if cell.regime == "clean" and _exact(cell)]
    return Page(
        title="What each objective converges to",
        kicker="logratio lab",
        headline=(
            f"With unlimited clean labels, {len(exact)} of {len(lab.rows)} objectives have the KL-regularised optimum "
            "as their minimum."
            if any(column.name == "clean" for column in lab.columns)
            else f"{len(lab.cells)} cells."
        ),
        tone="plain",
        support="Finite worlds: a few prompts, enumerable responses, tabular policies, unlimited data, float64. What "
        "generalisation, optimisation and language add is not here.",
        notices=[],
        top=[],
        sections=[
            Section("The table", [_table(lab), Prose(list(LEGEND))]),
            Section("Regimes", [Facts([(column.title, column.about) for column in lab.columns])]),
            Section("Objectives", [Facts([(row.label, _definition(row)) for row in lab.rows])]),
            *([Section("Finite samples", _plots(lab), _SAMPLES)] if lab.convergences else []),
            Section("Every cell", [_details(lab)]),
        ],
        footer=f"Computed in {lab.seconds:.0f} s by logratio. The page holds its own data and makes no request.",
    )


_SAMPLES = (
    "Root mean square error of log π on n comparisons against the optimum on unlimited ones, both axes as powers of "
    "ten: a smooth loss falls with slope −½."
)


def _exact(cell: Cell) -> bool:
    return cell.kind == "finite" and cell.distance_at_one < 1e-9


def _anchor(cell: Cell) -> str:
    return "".join(c if c.isalnum() else "-" for c in f"{cell.objective}--{cell.regime}")


def _table(lab: Lab) -> Table:
    rows: list[list[Shown]] = [
        [row.label, *(Linked(brief(cell), _anchor(cell)) for cell in cells), slope(lab, row.label) or None]
        for row, cells in rows_of(lab)
    ]
    return Table("Objective by regime", ["objective", *(column.title for column in lab.columns), "slope"], rows)


def _details(lab: Lab) -> Table:
    cells = [(row, cell) for row, own in rows_of(lab) for cell in own]
    return Table(
        "Figures behind the table",
        [
            "cell",
            "outcome",
            "KL to the frontier",
            "at β",
            "KL at β = 1",
            "order kept",
            "margin error",
            "outside mass",
            "again",
        ],
        [_detail(row, cell) for row, cell in cells],
        anchors=[_anchor(cell) for _, cell in cells],
    )


def _detail(row: Entry, cell: Cell) -> list[Shown]:
    outside = cell.outside and "{:.3f} (reference {:.3f}, optimum {:.3f})".format(*cell.outside)
    return [
        f"{cell.objective} in {cell.regime}",
        cell.kind,
        max(cell.distance, 0.0),
        "reference itself" if math.isinf(cell.beta) else cell.beta,
        max(cell.distance_at_one, 0.0),
        cell.order,
        cell.calibration,
        outside,
        commands(cell, row),
    ]


def _definition(row: Entry) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in row.settings.model_dump().items())
    return f"{row.objective.formula}; here {settings}" if settings else row.objective.formula


def _plots(lab: Lab) -> list[Plot]:
    found = [convergence for convergence in lab.convergences.values() if convergence is not None]
    parts = [found[at : at + CURVES] for at in range(0, len(found), CURVES)]
    return [
        Plot(
            "Error against comparisons",
            "log₁₀ nat",
            [
                Series(
                    own.objective,
                    [math.log10(n) for n in own.sizes],
                    [math.log10(error) if 0 < error < math.inf else math.nan for error in own.errors],
                    look=look,
                    smooth=False,
                )
                for look, own in enumerate(part)
            ],
            note=", ".join(f"{own.objective} {slope(lab, own.objective) or '–'}" for own in part),
            x_label="log₁₀ n",
        )
        for part in parts
    ]
