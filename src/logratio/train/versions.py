"""Recipes of other versions: a newer one is refused, and a key that an older one has names its successor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import __version__
from ..config import VERSION
from ..errors import ConfigError

FORMER: Mapping[str, str] = {}
"""Keys of earlier versions → what each is called now. Whoever renames a key adds it, and raises `config.VERSION`."""


def require_readable(version: Any, where: str) -> None:
    """Refuse a recipe that was written for keys which this program does not know yet.

    Args:
        version: What it says its version is; None where it says nothing, as one written by hand.
        where: What to call it.

    Raises:
        ConfigError: It is newer than this program, or no version.
    """
    if version is None:
        return
    if not str(version).isdecimal() or int(version) == 0:
        raise ConfigError(f"`version` of {where} is {version}, but must be a whole number > 0; leave it out.")
    if int(version) > VERSION:
        raise ConfigError(
            f"{where} has version {version}, and logratio {__version__} knows recipes up to version {VERSION}: a newer "
            "one wrote it; go on with that, or get it with pip install --upgrade logratio."
        )


def moved(key: str, value: str) -> str | None:
    """Return what a key of an earlier version is called now, or None where it never was one."""
    if key not in FORMER:
        return None
    return f"`{key}` is called `{FORMER[key]}` since version {VERSION} of the recipe: write `{FORMER[key]}: {value}`."
