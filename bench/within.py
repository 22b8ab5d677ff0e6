"""The product run within the process of a benchmark that watches its steps."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from . import rounds
from .ours import recipe
from .workload import Workload


def train_here(given: Workload, precision: str, listen: Callable[[Any], None], *, preflight: bool = True) -> None:
    """Train by DPO on a workload, with an empty cache of its own.

    Args:
        given: Model and data.
        precision: fp32 or bf16.
        listen: Told every event.
        preflight: Whether the run's checks are made.
    """
    from logratio import train

    facts = given.facts()
    with tempfile.TemporaryDirectory() as scratch, patch.dict(os.environ, LOGRATIO_CACHE=f"{scratch}/cache"):
        spec = {**rounds.SETTINGS, "groups_a_step": facts["groups"] // facts["steps"], "precision": precision}
        spec["output"] = str(Path(scratch) / "run")
        objective = {"name": "dpo", "beta": spec["beta"]}
        train(str(given.model), str(given.data), objective, **recipe(spec), on_event=listen, preflight=preflight)
