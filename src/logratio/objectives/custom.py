"""A person's own objective: a function in a file, or one that an installed package offers."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import Field, create_model
from torch import Tensor

from ..errors import ConfigError
from ..pyfile import named
from .base import Objective, Settings
from .facts import Facts
from .pairwise import pairwise
from .views import PairLogps, PairSums

GROUP = "logratio.objectives"
"""Entry-point group: a package's `NAME = "module:OBJECTIVE"` makes `--objective NAME` known."""

SHAPE = "def loss(pairs: PairLogps, *, beta: float = 0.1) -> Tensor, with PairSums where no reference is read"


def from_file(name: str) -> Objective:
    """Return the objective that `PATH.py:ATTRIBUTE` names: an `Objective`, or a function of pairs.

    The file is run. Its path and hash are kept in `Objective.origin`, printed when a run opens, and recorded.

    Raises:
        ConfigError: No such file or attribute, or it is neither; says what is expected.
    """
    found = named(name, "objective")
    objective = found if isinstance(found, Objective) else from_function(found)
    file = Path(name.rpartition(":")[0])
    return replace(objective, origin=f"{file.resolve()}, sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}")


def from_function(loss: Callable[..., Tensor], facts: Facts | None = None) -> Objective:
    """Return a function of pairs as an objective: keyword arguments with defaults are its settings.

    Args:
        loss: As `SHAPE`: takes the pairs, annotated, and settings by keyword; returns one loss a pair, [E].
        facts: What is known of it, for `logratio.testing.contract`.

    Raises:
        ConfigError: It has another shape.
    """
    name = getattr(loss, "__name__", "loss")
    if not callable(loss):
        raise ConfigError(f"objective {name} is {type(loss).__name__}; it must be an Objective or a function: {SHAPE}.")
    hints = get_type_hints(loss)
    first, *others = inspect.signature(loss).parameters.values()
    view = hints.get(first.name)
    if view not in (PairLogps, PairSums):
        raise ConfigError(f"objective {name}: its argument {first.name} must be annotated with what it reads: {SHAPE}.")
    bare = [other.name for other in others if other.kind is not other.KEYWORD_ONLY or other.default is other.empty]
    if bare:
        raise ConfigError(f"objective {name}: {bare[0]} must be a keyword with a default, to be a setting: {SHAPE}.")
    fields: dict[str, Any] = {
        other.name: (
            hints.get(other.name, type(other.default)),
            Field(other.default, description=f"{other.name} of {name}"),
        )
        for other in others
    }
    settings: type[Settings] = create_model(f"{name}_settings", __base__=Settings, **fields)
    about = (inspect.getdoc(loss) or "").strip().splitlines()
    return pairwise(
        loss,
        settings,
        summary=about[0] if about else "an objective of one's own",
        formula=f"{name}(pairs), as its file defines it, mean over pairs",
        source=f"{name}, of one's own",
        facts=facts or Facts(),
        reference=view is PairLogps,
    )


def installed() -> Mapping[str, Any]:
    """Return the entry points of installed packages by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def from_package(point: Any) -> Objective:
    """Return the objective of an entry point, with the package and version that it comes from.

    Raises:
        ConfigError: The entry point leads to something else.
    """
    found = point.load()
    if not isinstance(found, Objective):
        found = from_function(found)
    origin = f"{point.value}, {point.dist.name} {point.dist.version}" if point.dist else point.value
    return replace(found, origin=origin)
