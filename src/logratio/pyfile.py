"""Python that a recipe or command names: `file.py:name`, run where it lies, or `module:name`."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import ConfigError


def named(name: str, what: str) -> Any:
    """Return what `file.py:name` or `module:name` names; modules of the working directory count.

    The file or module is run: it is the person's code, with all that this process may do.

    Args:
        name: As above.
        what: What it is to serve as, to begin messages with: "judge", "objective".

    Raises:
        ConfigError: There is no such file, module or name, or it fails; one sentence.
    """
    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        raise ConfigError(
            f'{what} "{name}" names no function; write module:name or file.py:name, as rewards:score for the function '
            "score in rewards.py."
        )
    file = Path(place) if place.endswith(".py") else None
    try:
        if file is not None:
            file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{what} {name}: {place} cannot be read ({error.strerror}); check the path.") from None
    try:
        module = _module(place) if file is None else _of_file(file)
    except ModuleNotFoundError as error:
        if error.name is not None and not f"{place}.".startswith(f"{error.name}."):
            where = os.getcwd() if file is None else file.resolve().parent
            raise ConfigError(
                f"{what} {name}: {place} imports {error.name}, which is neither installed nor in {where}; install it "
                "into the Python that runs this, or put it there."
            ) from error
        raise ConfigError(
            f"{what} {name}: there is no module {place}, neither installed nor in {os.getcwd()}; check the name, or go "
            "to its folder."
        ) from None
    except Exception as error:
        raise ConfigError(f"{what} {name}: {place} fails when it is run, {said(error)}; mend it.") from error
    found = getattr(module, attribute, None)
    if found is None:
        known = ", ".join(_own(vars(module), module.__name__)) or "no function"
        raise ConfigError(f"{what} {name}: {place} defines no {attribute}; it defines {known}.")
    return found


def said(error: Exception) -> str:
    """Return an exception as a clause, on one line."""
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _module(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    return import_module(name)


def _of_file(file: Path) -> ModuleType:
    """Run a file anew, under a name of its own: what it defines, dataclasses say, looks its module up by that.

    While it runs, modules beside it can be imported; of two with one name, in two folders, the first stays imported.
    """
    name = f"{file.stem}_{hashlib.sha256(bytes(file.resolve())).hexdigest()[:12]}"
    spec = spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    sys.modules[name] = module = module_from_spec(spec)
    try:
        with _importing_from(file.resolve().parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with suppress(ValueError):  # the code has taken it away itself
            sys.path.remove(str(folder))


def _own(names: Mapping[str, Any], module: str) -> list[str]:
    """Return the functions and classes that a module defines itself."""
    return [
        name
        for name, value in names.items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", None) == module
    ]
