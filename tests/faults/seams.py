"""How a wrong version of a function gets into the program for one test: through the tests, not through an option."""

import importlib
import inspect
import sys
from collections.abc import Callable

import pytest

Plant = Callable[[pytest.MonkeyPatch], None]
"""Puts a bug in place, for one test."""


def around(name, wrong):
    """Plant `wrong(unplanted, *given)` in place of the function or method of this full name, wherever it is used."""

    def plant(monkeypatch):
        module, owner, last = _found(name)
        unplanted = getattr(owner, last)

        def put(*given, **named):
            return wrong(unplanted, *given, **named)

        if owner is not module:
            monkeypatch.setattr(owner, last, put)
            return
        for other in list(sys.modules.values()):  # those that imported it by name hold it too
            if inspect.ismodule(other):
                for key in [key for key, value in vars(other).items() if value is unplanted]:
                    monkeypatch.setattr(other, key, put)

    return plant


def instead(name, wrong):
    """Plant `wrong(*given)` there."""
    return around(name, lambda unplanted, *given, **named: wrong(*given, **named))


def value(name, wrong):
    """Plant another value, or property, under this full name."""

    def plant(monkeypatch):
        _, owner, last = _found(name)
        monkeypatch.setattr(owner, last, wrong)

    return plant


def _found(name):
    """Return module, owner (the module, or a class in it) and last part of a full name."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        owner = module
        for part in parts[count:-1]:
            owner = getattr(owner, part)
        return module, owner, parts[-1]
    raise ModuleNotFoundError(name)
