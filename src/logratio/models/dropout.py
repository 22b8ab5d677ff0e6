"""Dropout off, because a shared prompt assumes a deterministic forward; and back on where a model is only borrowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from torch import nn

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def switch_off_dropout(model: nn.Module) -> dict[str, float]:
    """Set every dropout and router jitter to 0; return what was changed, as name → what it was.

    Covers dropout layers and the numbers that attention modules and configs keep under such names. A layer stands
    for all layers of its kind: numbers in module names are written `*`.
    """
    changed: dict[str, float] = {}
    for told, owner, name, value in _dropouts(model):
        changed[told] = value
        setattr(owner, name, 0.0)
    return changed


def returns_dropout(function: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """Make a function leave the dropouts of models that it is given, also in lists, as they were."""

    @wraps(function)
    def wrapped(*args: Given.args, **kwargs: Given.kwargs) -> Answer:
        borrowed = list(_models((*args, *kwargs.values())))
        before = [found for model in borrowed for found in _dropouts(model)]
        try:
            return function(*args, **kwargs)
        finally:
            for _, owner, name, value in before:
                setattr(owner, name, value)

    return wrapped


def _models(given: Iterable[Any]) -> Iterator[nn.Module]:
    for one in given:
        if isinstance(one, nn.Module):
            yield one
        elif isinstance(one, (list, tuple)):
            yield from _models(one)


def _dropouts(model: nn.Module) -> Iterator[tuple[str, Any, str, float]]:
    """Yield every dropout above 0: the name to tell, and the object, attribute and value that it is."""
    for path, module in model.named_modules():
        generic = ".".join("*" if part.isdigit() else part for part in path.split("."))
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p:
            yield generic, module, "p", module.p
        owners = [(generic, module)] + ([("config", module.config)] if hasattr(module, "config") else [])
        for prefix, owner in owners:
            for name, value in list(vars(owner).items()):
                if ("drop" in name or "jitter" in name) and isinstance(value, float) and value:
                    yield f"{prefix}.{name}".lstrip("."), owner, name, value
