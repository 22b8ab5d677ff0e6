"""`rollout` and `judge`: what they need of a recipe, and what contradicts them."""

from __future__ import annotations

from ..config import RunConfig
from ..errors import ConfigError


def require_together(config: RunConfig) -> None:
    """Refuse `rollout` and judges, which no source reads yet.

    Raises:
        ConfigError: One of them is given.
    """
    for name, given in (("rollout", config.rollout), ("judge", config.judge), ("eval.judge", config.eval.judge)):
        if given is not None:
            raise ConfigError(f"{name} is given, but runs on fresh responses are not offered yet; leave it out.")
