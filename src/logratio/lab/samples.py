"""How many comparisons are enough: the error of an objective's optimum on n of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from ..exact import coverage, preferences
from ..exact.comparisons import population, sample
from ..exact.optimum import minimise
from ..exact.world import World, random_world
from .entries import Entry

SIZES = (100, 1_000, 10_000, 100_000)
DRAWS = 16
"""Independent data sets of each size."""


@dataclass(frozen=True)
class Convergence:
    """Error against the number of comparisons.

    Attributes:
        objective: Label of the row.
        sizes: Numbers of comparisons n.
        errors: Root mean square, over data sets and responses, of log π − log π of the optimum on unlimited data, nats.
        attained: Share of data sets of each size on which a minimum is attained; the others are left out.
        slope: Of log error against log n, least squares over sizes where all are attained; −½ for a smooth loss. None
            where there are fewer than two.
    """

    objective: str
    sizes: Sequence[int]
    errors: Sequence[float]
    attained: Sequence[float]
    slope: float | None

    def row(self) -> dict[str, Any]:
        """Return it as JSON; an error of a size at which nothing is attained is null."""
        errors = [error if math.isfinite(error) else None for error in self.errors]
        return {**asdict(self), "errors": errors}


def small_world() -> World:
    """Return one prompt with three responses, all likely enough that 100 comparisons tell something."""
    return random_world(1, prompts=2, responses=3, spread=0.5, longest=4)


def convergence(entry: Entry, *, sizes: Sequence[int] = SIZES, draws: int = DRAWS) -> Convergence | None:
    """Return the error at each size on clean labels; None where unlimited data has no attained optimum."""
    world = small_world()
    whole = population(world, preferences.bradley_terry(world.reward_XY), coverage.uniform(*world.shape))
    target = minimise(partial(entry.loss, entry.population(world, whole)), world.reference_XY)
    if target.kind != "finite":
        return None
    errors, attained = [], []
    for n in sizes:
        squares = []
        for draw in range(draws):
            seen = entry.population(world, sample(whole, n, "lab", draw))
            found = minimise(partial(entry.loss, seen), target.policy_XY)
            if found.kind == "finite":
                squares.append(float((found.policy_XY - target.policy_XY).square().mean()))
        errors.append(math.sqrt(sum(squares) / len(squares)) if squares else math.inf)
        attained.append(len(squares) / draws)
    return Convergence(entry.label, list(sizes), errors, attained, _slope(sizes, errors, attained))


def _slope(sizes: Sequence[int], errors: Sequence[float], attained: Sequence[float]) -> float | None:
    kept = [(math.log(n), math.log(e)) for n, e, share in zip(sizes, errors, attained, strict=True) if share == 1 and e]
    if len(kept) < 2:
        return None
    x, y = torch.tensor(kept, dtype=torch.float64).T
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())
