"""Runs as paths from the reference in the plane of KL and reward, compared at equal KL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..maths.counter import stream
from ..maths.intervals import Measure

Table = NDArray[np.float64]

DRAWS = 1_000
"""Resamplings of prompts and runs behind an interval."""


@dataclass(frozen=True)
class Track:
    """One run's evaluations on the way from the reference.

    Attributes:
        setting: What it was run with; runs that differ in seed alone share it.
        kls: [M, P] log-ratio of each prompt's sample at each of M evaluations, in order; the first is the start's.
        rewards: [M, P] its reward; NaN where nobody knows it, and the sample counts in no mean.
    """

    setting: str
    kls: Table
    rewards: Table


@dataclass(frozen=True)
class Level:
    """A method's reward at a distance.

    Attributes:
        kl: The distance, nats.
        setting: The setting that reached most there; "" where no setting's runs all came so far.
        reward: Mean over its runs, with a bootstrap interval over prompts and runs.
        runs: How many runs it has.
        settings: How many settings of the method came so far.
    """

    kl: float
    setting: str
    reward: Measure
    runs: int
    settings: int


def reward_at(tracks: Sequence[Track], level: float, *, draws: int = DRAWS, seed: int = 0) -> Level:
    """Return a method's reward at a KL, by interpolation between evaluations.

    A run's path joins its evaluations' means (KL, reward) by straight lines; where it crosses the level more than once
    the highest reward counts. A setting's value is the mean over its runs, all of which must cross, and the method's
    that of its best setting. The interval is the 2.5 % to 97.5 % range of this whole computation, the choice of the
    best setting included, with prompts drawn again (the same ones in all runs) and runs drawn again within settings.
    To be the best of several settings flatters, which the interval does not correct.

    Args:
        tracks: Runs of one method, on the same prompts in the same order.
        level: KL, nats, > 0.
        draws: Bootstrap samples.
        seed: Of those.
    """
    settings: dict[str, list[Track]] = {}
    for track in tracks:
        settings.setdefault(track.setting, []).append(track)
    every = np.ones((1, tracks[0].kls.shape[1])) if tracks else np.ones((1, 1))
    found = {name: float(_at(own, every, level).mean()) for name, own in settings.items()}
    known = {name: value for name, value in found.items() if not np.isnan(value)}
    if not known:
        return Level(level, "", Measure(None, None, None, 0), 0, 0)
    best, prompts = max(known, key=lambda name: known[name]), every.shape[1]
    rng = stream(seed, "reward at equal KL")
    again = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=draws).astype(np.float64)
    drawn = []
    for name in known:
        own = _at(settings[name], again, level)
        picked = rng.integers(0, len(own), (len(own), draws))
        drawn.append(np.take_along_axis(own, picked, axis=0).mean(0))
    values = np.array(drawn)
    values = np.where(np.isnan(values), -np.inf, values).max(0)
    values = values[np.isfinite(values)]
    runs = len(settings[best])
    if len(values) < draws / 2:  # at the very end of its reach
        return Level(level, best, Measure(known[best], None, None, runs * prompts), runs, len(known))
    low, high = np.quantile(values, (0.025, 0.975))
    measure = Measure(known[best], float(low), float(high), runs * prompts, float(values.std()))
    return Level(level, best, measure, runs, len(known))


def crossing(kls: ArrayLike, rewards: ArrayLike, level: float) -> float | None:
    """Return the highest reward at which a path of straight lines crosses a KL; None where it does not."""
    value = float(_crossings(np.asarray(kls, np.float64)[None], np.asarray(rewards, np.float64)[None], level)[0])
    return None if np.isnan(value) else value


def _at(tracks: Sequence[Track], weights: Table, level: float) -> Table:
    """Return each run's reward at a level under weightings [D, P] of prompts, [runs, D]; NaN where it is not met."""
    return np.array(
        [
            _crossings(_means(weights, track, track.kls), _means(weights, track, track.rewards), level)
            for track in tracks
        ]
    )


def _means(weights: Table, track: Track, values: Table) -> Table:
    """Return the weighted means of a track's values, [D, M], over samples whose reward is known; NaN for none."""
    known = np.isfinite(track.rewards)
    sums, total = weights @ np.where(known, values, 0.0).T, weights @ known.T
    means: Table = np.divide(sums, total, out=np.full(total.shape, np.nan), where=total > 0)
    return means


def _crossings(kls: Table, rewards: Table, level: float) -> Table:
    """Return the highest reward of each of D paths [D, M] at a level, [D]; NaN where a path does not meet it."""
    best = np.where(kls == level, rewards, -np.inf).max(1, initial=-np.inf)
    for i in range(kls.shape[1] - 1):
        before, after = kls[:, i] - level, kls[:, i + 1] - level
        crosses = before * after < 0
        share = np.divide(before, before - after, out=np.zeros_like(before), where=crosses)
        value = rewards[:, i] + share * (rewards[:, i + 1] - rewards[:, i])
        best = np.fmax(best, np.where(crosses, value, -np.inf))
    return np.where(np.isfinite(best), best, np.nan)
