"""One strength a model out of every two models' duels: Bradley–Terry, as Elo points, with intervals and a check.

    P(a ≻ b) = σ(θ_a − θ_b),   Elo = 1000 + 400/ln 10 · θ,   Σ θ = 0

A tie is half a win for each. Every two models are taken to have had one tied duel more than they had: so a model that
wins all has a finite strength, and of two models with w and l wins θ_a − θ_b = ln((w + ½)/(l + ½)), whose bias is of
second order (Haldane 1956; Firth's penalty of 1993 in this case).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...maths.intervals import Measure
from .resample import draws, ends, measure

Floats = NDArray[np.float64]

ELO = 400 / np.log(10)
"""Elo points a logit."""

CENTRE = 1000.0
"""Mean of all models' points."""


@dataclass(frozen=True)
class Place:
    """A model in a ranking.

    Attributes:
        model: Its number.
        points: Elo points with their interval.
        rank: 1 for the strongest.
        best, worst: Ends of the 95 % interval of that rank.
    """

    model: int
    points: Measure
    rank: int
    best: int
    worst: int

    def to_json(self) -> dict[str, Any]:
        """Return the place as JSON values."""
        return {"points": self.points.to_json(), "rank": self.rank, "best": self.best, "worst": self.worst}


def strengths(wins: Floats) -> Floats:
    """Return θ, float64 [B, M], Σ θ = 0, of B tables of wins.

    Args:
        wins: [B, M, M]: duels of model i with model j that i won, ties half; the diagonal is not read.
    """
    size = wins.shape[1]
    apart = 1 - np.eye(size)
    won = (wins + 0.5) * apart
    games = won + won.transpose(0, 2, 1)
    theta = np.zeros(won.shape[:2])
    for _ in range(200):
        p = (1 + np.tanh((theta[:, :, None] - theta[:, None, :]) / 2)) / 2
        slope = (won - games * p).sum(axis=2)
        weight = games * p * (1 - p)
        curve = np.einsum("bij,ik->bik", weight, np.eye(size)) - weight
        step = np.linalg.solve(curve + 1 / size, slope[:, :, None])[:, :, 0]
        theta += np.clip(step, -1, 1)
        theta -= theta.mean(axis=1, keepdims=True)
        if np.abs(step).max() < 1e-11:
            break
    return theta


def ranking(
    models: int, pairs: ArrayLike, values: ArrayLike, prompts: Sequence[str], seed: int = 0
) -> tuple[list[Place], float]:
    """Return the models from the strongest down, and the largest gap between an observed and a fitted win rate.

    Args:
        models: How many there are, M ≥ 2.
        pairs: [n, 2] numbers of the models of each duel.
        values: n preferences for the first, in [0, 1].
        prompts: n names of prompts: equal ones are drawn together.
        seed: Of the bootstrap.
    """
    pair, value = np.asarray(pairs, np.int64), np.asarray(values, np.float64)
    names, at = np.unique(np.asarray(prompts), return_inverse=True)
    table = np.zeros((len(names), models, models))
    np.add.at(table, (at, pair[:, 0], pair[:, 1]), value)
    np.add.at(table, (at, pair[:, 1], pair[:, 0]), 1 - value)
    flat = table.reshape(len(names), -1)
    whole = table.sum(axis=0)
    (theta,) = strengths(whole[None])
    drawn = np.concatenate(
        [strengths((weight @ flat).reshape(-1, models, models)) for weight in draws(len(names), seed)]
    )
    ranks = (drawn[:, None, :] > drawn[:, :, None]).sum(axis=2) + 1
    places = []
    for rank, model in enumerate(np.argsort(-theta, kind="stable").tolist(), 1):
        games = int(round(float((whole + whole.T)[model].sum())))
        points = measure(CENTRE + ELO * theta[model], CENTRE + ELO * drawn[:, model], games)
        if len(names) < 2:  # nothing to resample
            points = replace(points, low=None, high=None, se=None)
        best, worst = (1, models) if len(names) < 2 else (round(end) for end in ends(ranks[:, model]))
        places.append(Place(model, points, rank, best, worst))
    return places, _misfit(whole, theta)


def _misfit(whole: Floats, theta: Floats) -> float:
    gaps = [0.0]
    for a, b in combinations(range(len(theta)), 2):
        games = whole[a, b] + whole[b, a]
        if games:
            gaps.append(abs(whole[a, b] / games - float(1 / (1 + np.exp(theta[b] - theta[a])))))
    return max(gaps)


@dataclass(frozen=True)
class Cycle:
    """Three models of which each is preferred to the next, and the last to the first.

    Attributes:
        models: Their numbers, the lowest first.
        sure: Whether each of the three win rates is above ½ by its interval.
    """

    models: tuple[int, int, int]
    sure: bool


def cycles(rates: Mapping[tuple[int, int], Measure]) -> list[Cycle]:
    """Return the cycles of three among models, which no ranking can show.

    Args:
        rates: Win rate of a over b by (a, b), each two models in one order.
    """
    means = {pair: (rate.mean, rate.low) for pair, rate in rates.items() if rate.mean is not None}
    means |= {
        (b, a): (1 - rate.mean, None if rate.high is None else 1 - rate.high)
        for (a, b), rate in rates.items()
        if rate.mean is not None
    }
    found = []
    for a, b, c in permutations(sorted({model for pair in rates for model in pair}), 3):
        round_ = [means.get(pair) for pair in ((a, b), (b, c), (c, a))]
        if a < min(b, c) and all(own is not None and own[0] > 0.5 for own in round_):
            found.append(Cycle((a, b, c), all(own is not None and (own[1] or 0) > 0.5 for own in round_)))
    return found
