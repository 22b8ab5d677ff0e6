"""Packages that are verbs: `from logratio import train` gives something to call, whatever was imported before.

Importing `logratio.train.api` binds the name `train` to the package, so a function of that name would be hidden by it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Verb(ModuleType):
    """A package whose call is its `api` module's function of the same name."""

    @property
    def __wrapped__(self) -> Any:
        """The function, for `inspect.signature` and `help`."""
        return getattr(import_module(f"{self.__name__}.api"), self.__name__.rpartition(".")[2])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)


def callable_package(name: str) -> None:
    """Make the package `name` callable."""
    sys.modules[name].__class__ = _Verb
