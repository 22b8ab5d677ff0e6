"""Runs on fresh responses: what each of their rounds measured, and what judging cost."""

from __future__ import annotations

from collections.abc import Sequence

from .beside import Round
from .kit import Block, Cell, Table
from .names import KL, LENGTH, metric
from .read import Row, RunFiles, as_number, interval
from .text import number

_MEASURED = ("reward", KL, LENGTH, "ended")
_COSTS = (
    "judge_calls",
    "judge_cached",
    "judge_retries",
    "judge_tokens_in",
    "judge_tokens_out",
    "judge_cost",
    "judge_seconds",
)


def fresh(run: RunFiles, rounds: Sequence[Round]) -> list[Block]:
    """Return a table of the rounds and one of the costs, those of which anything was kept."""
    return [table for table in (_rounds(run, rounds), _costs(run)) if table is not None]


def references(rounds: Sequence[Round]) -> str:
    """Return what rounds are measured against, a sentence; "" where there are none."""
    if not rounds:
        return ""
    first, *others = (own.reference for own in rounds)
    if all(other == first for other in others):
        return f"The reference of every round: {first}."
    more = "; and so on" if len(others) > 1 else ""
    return f"The reference of round 1: {first}; of round 2: {others[0]}{more}."


def _rounds(run: RunFiles, rounds: Sequence[Round]) -> Table | None:
    """Return what was measured as each round ended, under what was measured before the first."""
    if not rounds:
        return None
    before: Row = next((row for row in run.evals if row["step"] == 0), {})
    names = [name for name in _MEASURED if any(interval(own.evaluation, name) for own in rounds)]
    heads = [(metric(name).label, metric(name).unit) for name in names]
    columns = ["round", "steps", *(f"{label} ({unit})" if unit else label for label, unit in heads)]
    rows: list[list[Cell]] = [["before", None, *(interval(before, name) for name in names)]] if before else []
    for own in rounds:
        steps = f"{own.steps[0]:,} to {own.steps[1]:,}"
        measured = [interval(own.evaluation, name) for name in names]
        rows.append([f"{own.number} of {own.of}", steps, *measured])
    return Table("Each round as it ended, on the held-out prompts", columns, rows)


def _costs(run: RunFiles) -> Table | None:
    """Return what the judge's own figures add up to, in training and in evaluations."""
    rows: list[list[Cell]] = []
    for name in _COSTS:
        spent = [[value for row in kind if (value := as_number(row.get(name))) is not None] for kind in _kinds(run)]
        if any(spent):
            shown = metric(name)
            label = f"{shown.label} ({shown.unit})" if shown.unit else shown.label
            rows.append([label, *(_sum(name, own) for own in (*spent, [*spent[0], *spent[1]]))])
    caption = "What judging cost; attempts without a verdict, and what a killed run judged in vain, are not in it"
    return Table(caption, ["", "training", "evaluations", "together"], rows) if rows else None


def _kinds(run: RunFiles) -> tuple[Sequence[Row], Sequence[Row]]:
    return run.train, run.evals


def _sum(name: str, values: Sequence[float]) -> str | None:
    if not values:
        return None
    total = sum(values)
    return number(total) if name in ("judge_cost", "judge_seconds") else f"{total:,.0f}"
