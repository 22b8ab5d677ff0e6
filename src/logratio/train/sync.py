"""`reference_sync`: what contradicts it, and what it makes of the reference, in words."""

from __future__ import annotations

from ..batch.needs import Needs
from ..config import RunConfig, SyncConfig
from ..errors import ConfigError


def require_movable(config: RunConfig, needs: Needs) -> None:
    """Refuse a moving reference beside what it contradicts.

    Args:
        config: The recipe.
        needs: The objective's.

    Raises:
        ConfigError: There is no reference to move, it does not begin as the policy, or checkpoints are to be compared
            by measures of which each is against another reference.
    """
    sync = config.reference_sync
    if sync.every is None:
        if sync.alpha != 1:
            raise ConfigError(
                f"reference_sync.alpha is {sync.alpha:g}, but reference_sync.every is not given, so nothing ever "
                "moves; set reference_sync.every, as 512, or leave alpha out."
            )
        return
    given = f"reference_sync.every is {sync.every}"
    if not needs.reference:
        raise ConfigError(
            f"{given}, but objective {config.objective['name']} has no reference that could move; leave it out, or "
            "choose an objective with a reference (`logratio objectives`)."
        )
    if sync.every == "phase" and config.rollout is None:
        raise ConfigError(
            f"{given}, but nothing is drawn, so that there are no phases; give a number of steps, or draw fresh "
            "responses with rollout: {k: 4}."
        )
    if config.reference != "start":
        raise ConfigError(
            f"{given} and reference is {config.reference}, but a reference that moves is a second set of the trained "
            "weights, which begins as the policy does; use reference: start, or leave reference_sync out."
        )
    if config.keep.best is not None:
        raise ConfigError(
            f"{given} and keep.best is {config.keep.best}, but each evaluation is against the reference of its own "
            "step, so that checkpoints cannot be compared by it; leave one of the two out."
        )


def described(sync: SyncConfig) -> str:
    """Return how the reference moves, to follow the words on what it begins as; "" where it does not."""
    if sync.every is None:
        return ""
    becomes = "the policy" if sync.alpha == 1 else f"{sync.alpha:g} × policy + {1 - sync.alpha:g} × reference"
    period = "step" if sync.every == 1 else "phase" if sync.every == "phase" else f"{sync.every} steps"
    return (
        f"; after every {period} it becomes {becomes}, over the trained weights, and losses, rewards and KL are "
        "against the reference as it is at their step, computed anew each time"
    )
