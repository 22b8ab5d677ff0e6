"""Objectives, one file each, named after their usual names. Only the chosen file is imported."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from ..errors import ConfigError, nearest
from .base import Objective
from .custom import from_file, from_package, installed
from .methods import METHODS, method
from .mixture import could_imitate, with_sft
from .total import loss

__all__ = ["Objective", "load", "loss", "names"]

_PARTS = {"__init__", "base", "facts", "views", "metrics", "mixture", "pairwise", "divergences", "custom"}
_PARTS |= {"labelling", "onpolicy", "total", "methods"}


def names() -> tuple[str, ...]:
    """Return the registered names: the files of this folder."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in _PARTS))


def load(name: str) -> Objective:
    """Return the objective called `name`: one of this folder, of an installed package, or `PATH.py:FUNCTION`.

        >>> load("simpo").settings()
        SimpoSettings(beta=2.0, gamma_beta_ratio=0.5, sft_weight=0.0)
        >>> load("dpo").needs(load("dpo").settings()).reference
        True

    Raises:
        ConfigError: No such objective; names the nearest, or the recipe of a method that is no loss of its own.
    """
    objective = _found(name)
    return with_sft(objective) if could_imitate(objective) else objective


def _found(name: str) -> Objective:
    if name in names():
        own: Objective = import_module(f"{__name__}.{name}").OBJECTIVE
        return own
    if ".py:" in name:
        return from_file(name)
    packages = installed()
    if name in packages:
        return from_package(packages[name])
    if (known_as := method(name)) is not None:
        raise ConfigError(f'"{name}" is no loss of its own but {known_as.about}; run {known_as.command}.')
    known = sorted({*names(), *packages, *METHODS})
    raise ConfigError(f'objective "{name}" does not exist (your own is PATH.py:FUNCTION); {nearest(name, known)}')
