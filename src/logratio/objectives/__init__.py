"""Objectives, one file each, named after their usual names. Only the chosen file is imported."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from ..errors import ConfigError, nearest
from .base import Objective
from .mixture import with_sft

_PARTS = {"__init__", "base", "facts", "views", "metrics", "mixture", "pairwise", "divergences"}


def names() -> tuple[str, ...]:
    """Return the registered names: the files of this folder."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in _PARTS))


def load(name: str) -> Objective:
    """Return the objective called `name`; its file defines `OBJECTIVE`.

    Raises:
        ConfigError: No such objective; names the nearest.
    """
    if name not in names():
        raise ConfigError(f'objective "{name}" does not exist; {nearest(name, names())}')
    objective: Objective = import_module(f"{__name__}.{name}").OBJECTIVE
    return with_sft(objective) if objective.data == "pairs" and not objective.supervised else objective
