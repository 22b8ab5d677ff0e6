"""Align language models from preferences, and see whether it worked."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .evaluate.api import evaluate
    from .train.api import train

__all__ = ["evaluate", "train"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a verb's package on first use, so that `import logratio` stays light."""
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
