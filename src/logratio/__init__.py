"""Align language models from preferences, and see whether it worked."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import objectives
    from .batch.group import Group
    from .batch.logps import Logps
    from .batch.needs import Needs
    from .batch.packed import PackedBatch, pack
    from .data.api import tokenize
    from .evaluate.api import evaluate
    from .logps.policy import Policy, choose_path
    from .logps.reference import ReferenceCache
    from .train.api import train

__all__ = [
    "Group",
    "Logps",
    "Needs",
    "PackedBatch",
    "Policy",
    "ReferenceCache",
    "choose_path",
    "evaluate",
    "objectives",
    "pack",
    "tokenize",
    "train",
]
__version__ = "0.1.0"

_HOMES = {
    "Group": "batch.group",
    "Logps": "batch.logps",
    "Needs": "batch.needs",
    "PackedBatch": "batch.packed",
    "Policy": "logps.policy",
    "ReferenceCache": "logps.reference",
    "choose_path": "logps.policy",
    "pack": "batch.packed",
    "tokenize": "data.api",
}
"""Where each name is defined; those in `__all__` that are missing here are packages themselves."""


def __getattr__(name: str) -> Any:
    """Import what is asked for on first use, so that `import logratio` stays light."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Name what is offered, for completion in a notebook."""
    return sorted({*globals(), *__all__})
