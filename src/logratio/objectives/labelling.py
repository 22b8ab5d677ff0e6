"""A phase's judged groups as labels read and write them: float64 inside, columns in the type of the scores outside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..batch.group import Group, scored_masks
from ..errors import ConfigError

Floats64 = NDArray[np.float64]


def at_least_two(groups: Sequence[Group], name: str) -> None:
    """Refuse phases of one response a prompt, for objectives that measure a response against its group.

    Raises:
        ConfigError: No group has two.
    """
    if groups and max(len(group.responses) - int(rivals(group).sum()) for group in groups) < 2:
        raise ConfigError(
            f"rollout.k is 1, but {name} measures each response against the others of its prompt, so that every "
            "advantage would be 0; set rollout.k to 2 or more."
        )


def lengths(group: Group) -> NDArray[np.int64]:
    """Return the scored tokens of each response, [K]."""
    return np.array([int(mask.sum()) for mask in scored_masks(group)], np.int64)


def sums(group: Group, value_R: NDArray[np.floating]) -> Floats64:
    """Add up a value per scored token over each response, [K]."""
    owner = np.repeat(np.arange(len(group.responses)), lengths(group))
    total_K = np.bincount(owner, np.asarray(value_R, np.float64), minlength=len(group.responses))
    return total_K.astype(np.float64)


def rivals(group: Group) -> NDArray[np.bool_]:
    """Return which responses were not drawn from the policy but from another one, to be compared with, [K]."""
    column = group.columns.response.get("rival")
    return np.zeros(len(group.responses), np.bool_) if column is None else column > 0


def counted(group: Group) -> NDArray[np.bool_]:
    """Return which responses are the policy's own and judged, [K]."""
    return (group.columns.response["weight"] > 0) & ~rivals(group)


def own_logps(group: Group) -> Floats64:
    """Return the policy's log-probs of scored tokens as it was when it drew them, [R], nats.

    Those of the trainer where they are known, else those of the sampler.
    """
    token = group.columns.token
    return np.asarray(token["old"] if "old" in token else token["sampled"], np.float64)


def log_ratios(group: Group) -> Floats64:
    """Return log π_old − log π_ref at each scored token, [R], nats."""
    return own_logps(group) - np.asarray(group.columns.token["reference"], np.float64)


def penalised(group: Group, beta: float) -> Floats64:
    """Return each response's score less β·log π_old(y|x)/π_ref(y|x), [K]; the score itself where β is 0."""
    score_K = np.asarray(group.columns.response["score"], np.float64)
    return score_K - beta * sums(group, log_ratios(group)) if beta else score_K


def over_tokens(group: Group, value_K: Floats64) -> Floats64:
    """Repeat a value per response over its scored tokens, [R]."""
    return np.repeat(value_K, lengths(group))


def labelled(group: Group, advantage_R: Floats64) -> Group:
    """Return a judged group with the token column `advantage`, one a scored token."""
    return group.with_columns(token={"advantage": advantage_R.astype(group.columns.response["weight"].dtype)})
