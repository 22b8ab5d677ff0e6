"""The audit in brief: what the first rows of the data say of themselves, before a model learns from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ...errors import LogratioError
from ...findings import Finding
from .tokens import Tokenised

MOST = 20_000
"""Rows that are read at most."""
LEAST = 100
"""Rows of which fewer say little."""
SECONDS = 2e-4
"""Seconds a row takes, reading included."""


def audited(scene: Tokenised, most: int) -> list[Finding]:
    """Return what the audit finds in brief, named `audit_…`; a warning is the most that comes of it.

    Args:
        scene: The run's data.
        most: Rows to read.
    """
    from ...audit.brief import brief  # it brings libraries that a run does without

    data = _readable(scene.inputs.data, scene.config.data)
    given = scene.inputs.eval_data if scene.inputs.eval_data is not None else scene.config.eval.data
    held = None if given is None else _readable(given, given)
    if data is None:
        return [Finding("audit", "note", "The rows came from an iterator that is used up, so they were not audited.")]
    try:
        found = brief(data, eval_data=held, config=scene.config.rows, most=most)
    except LogratioError as error:
        says = f"The rows could not be audited: {error}"
        return [Finding("audit", "note", says, "`logratio audit` says more of what it reads.")]
    except Exception as error:  # it only advises: a fault of its own must not end a training
        why = f"{type(error).__name__}: {error}".rstrip(": .")
        says = f"Whether something is wrong with the rows could not be decided: the audit itself failed ({why})."
        return [Finding("audit", "look", says, "Training goes on without it; please report this, with a row or two.")]
    return [_beside(each) for each in found]


def _beside(found: Finding) -> Finding:
    """Return a finding of the audit as one of these: what is wrong with rows may be meant, so that it stops no run."""
    level = "look" if found.level == "stop" else found.level
    return replace(found, name=f"audit_{found.name}", level=level, drawing=None, examples=found.examples[:1])


def _readable(given: Any, named: Any) -> Any:
    """Return data that can be read once more: what was given, else what is named; None for a used iterator."""
    data = named if given is None else given
    return None if isinstance(data, Iterator) else data
