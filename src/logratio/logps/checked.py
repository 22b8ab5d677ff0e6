"""Reference log-probs from the cache, believed only after a few of them have been computed once more."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ..batch.group import Floats, Group
from ..errors import ModelError
from .policy import TOLERANCE, Policy
from .reference import ReferenceCache, ReferenceValues, score


def checked_values(
    cache: ReferenceCache,
    policy: Policy,
    groups: Sequence[Group],
    *,
    bin_tokens: int,
    bf16: bool = False,
    ranks: tuple[int, int] = (0, 1),
    any_rank: Callable[[bool], bool] = bool,
    on_block: Callable[[int, int], None] = lambda done, of: None,
    warn: Callable[[str], None] = lambda text: None,
    on_spot: Callable[[float, float], None] = lambda off, allowed: None,
) -> ReferenceValues:
    """Return log-probs of all groups as `ReferenceCache.fill` does; if they prove wrong, they are computed again.

    Args:
        cache: Of this reference.
        policy: The reference.
        groups: The data set, in its own order; at least one.
        bin_tokens: Tokens a bin may hold.
        bf16: Whether products are in bfloat16, which decides what counts as rounding.
        ranks: As in `ReferenceCache.fill`.
        any_rank: As there.
        on_block: As there.
        warn: As there, and told where numbers proved wrong.
        on_spot: Told how far a few computed once more are off, and how far is rounding, nats.

    Raises:
        ModelError: Twice the same rows give different numbers.
    """
    computed = torch.bfloat16 if bf16 else next(policy.parameters()).dtype
    allowed = 5 * max(TOLERANCE[computed], TOLERANCE[torch.float32])  # they are stored in float32
    for _ in range(2):
        values = cache.fill(
            policy, groups, bin_tokens=bin_tokens, ranks=ranks, any_rank=any_rank, on_block=on_block, warn=warn
        )
        off = _off(policy, groups, values, bin_tokens)
        found = f"off by {off:.3g} nat (at most {allowed:g} is rounding)"
        on_spot(off, allowed)
        if not any_rank(not off <= allowed):
            return values
        warn(f"cached reference log-probs are {found}; they are computed again.")
        cache.clear()
    raise ModelError(
        f"reference log-probs just computed are {found} when three rows are scored once more, so this model's "
        "forward pass cannot be repeated and its log-ratios would be noise; try train.path: plain or another model."
    )


def _off(policy: Policy, groups: Sequence[Group], values: Sequence[Floats], bin_tokens: int) -> float:
    """Score up to 3 groups again; return the largest difference in nats, NaN where a number is none."""
    few = sorted({0, len(groups) // 2, len(groups) - 1})
    fresh = score(policy, [groups[i] for i in few], bin_tokens=bin_tokens)
    known = [values[i] for i in few]
    if list(map(len, known)) != list(map(len, fresh)):
        return math.nan
    return float(np.abs(np.concatenate(known) - np.concatenate(fresh)).max(initial=0.0))
