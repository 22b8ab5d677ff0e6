"""The best-known reward–KL frontier of a reference, estimated from samples of it that a reward has scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ConfigError, NonFiniteError
from ..maths.intervals import Measure, mean_interval
from .tracks import crossing

Table = NDArray[np.float64]

TRUSTED = 10.0
"""Effective samples a prompt, in the mean over prompts, under which a tilt is said to be carried by too few."""

BIAS = (
    "Self-normalised importance sampling is biased by O(1/N): a tilt over N samples cannot go further than log N nats "
    "or find a reward that none of them has, so the estimate lies under the true frontier, by about the `bias` that "
    "halving N tells; where the effective sample size is small it is a lower bound and no more."
)


@dataclass(frozen=True)
class Tilt:
    """The reference tilted towards a reward: one point of the Gibbs frontier.

    Attributes:
        beta: Strength of the KL term, in 1/nat.
        reward: E r under π ∝ π_ref·e^{r/β}, its interval over prompts.
        kl: KL(π‖π_ref), nats a response, its interval over prompts.
        effective: Mean over prompts of 1/Σ w̄², the effective number of samples, from 1 to N.
        bias_reward: Estimated bias of `reward`: the mean of both halves' estimates less the whole's.
        bias_kl: The same of `kl`.
    """

    beta: float
    reward: Measure
    kl: Measure
    effective: float
    bias_reward: float
    bias_kl: float

    @property
    def trusted(self) -> bool:
        """Whether enough samples carry it."""
        return self.effective >= TRUSTED


@dataclass(frozen=True)
class Best:
    """Best-of-N: the response of the highest score among N of the reference's.

    Attributes:
        n: N.
        reward: Its expected reward, unbiased, its interval over prompts.
        bound: log N − (N−1)/N, which its KL does not exceed, nats.
        kl: Its KL where scores have ties, from the shares of each score among the samples; None where no two of a
            prompt are equal, and then `bound` is what is known.
    """

    n: int
    reward: Measure
    bound: float
    kl: Measure | None

    @property
    def distance(self) -> float:
        """The KL to draw it at, nats."""
        return self.bound if self.kl is None or self.kl.mean is None else self.kl.mean


def gibbs_tilts(rewards: ArrayLike, betas: Sequence[float]) -> list[Tilt]:
    """Estimate the frontier max E r at a given KL from samples of the reference, at one β for all prompts.

        w̄_j = e^{r_j/β} / Σ_i e^{r_i/β},   E r ≈ Σ w̄_j r_j,   KL ≈ Σ w̄_j r_j/β − log(1/N · Σ e^{r_j/β})

    Self-normalised importance sampling with proposal π_ref; `BIAS` says how it errs.

    Args:
        rewards: [P, N], of N ≥ 2 samples of π_ref(·|x) at each of P prompts.
        betas: Each > 0.

    Raises:
        ConfigError: There are fewer than two samples, or a β is not above 0.
        NonFiniteError: A reward is NaN or infinite.
    """
    table = _rewards(rewards, least=2)
    half = table.shape[1] // 2
    out = []
    for beta in betas:
        if not beta > 0:
            raise ConfigError(f"beta is {beta}; the tilt e^(r/beta) needs it above 0; 0.1 is common.")
        gained, away, effective = _tilted(table, beta)
        halves = [_tilted(table[:, :half], beta), _tilted(table[:, half : 2 * half], beta)]
        # E whole = truth + b/N and E half = truth + 2b/N, so that half − whole is what the whole errs by
        bias = [np.mean([own[i].mean() for own in halves]) - whole.mean() for i, whole in enumerate((gained, away))]
        measures = mean_interval(gained), mean_interval(away)
        out.append(Tilt(beta, *measures, float(effective.mean()), float(bias[0]), float(bias[1])))
    return out


def best_of_n(rewards: ArrayLike, ns: Sequence[int], scores: ArrayLike | None = None) -> list[Best]:
    """Estimate best-of-N from N_max ≥ N samples of the reference.

        E max ≈ Σ_i C(i−1, N−1)/C(N_max, N) · r_(i),   r_(1) ≤ … ≤ r_(N_max)

    the mean over all subsets of size N, unbiased (a U-statistic); equal scores share their places. Where scores have
    ties the KL is that of the tied world, with each score's share p and mass upto F, under F₋ of the samples:

        KL = Σ_s (F^N − F₋^N)·log((F^N − F₋^N)/p)

    Args:
        rewards: [P, N_max], of samples of π_ref(·|x) at each of P prompts.
        ns: Each from 1 to N_max.
        scores: [P, N_max] that the best is chosen by; default: the rewards.

    Raises:
        ConfigError: An N is out of range, or the tables' shapes differ.
        NonFiniteError: A reward or score is NaN or infinite.
    """
    table = _rewards(rewards, least=1)
    by = table if scores is None else _rewards(scores, least=1)
    most = table.shape[1]
    if by.shape != table.shape:
        raise ConfigError(
            f"scores are {list(by.shape)} and rewards {list(table.shape)}; each sample needs one of both."
        )
    for n in ns:
        if not 1 <= n <= most:
            raise ConfigError(f"n is {n}; with {most} samples a prompt best-of-n is known from 1 to {most}.")
    tied = any(len(np.unique(row)) < most for row in by)
    out = []
    for n in ns:
        weight = np.array([_chances(row, n) for row in by])
        away = mean_interval([_tied_kl(row, n) for row in by]) if tied else None
        bound = math.log(n) - (n - 1) / n
        out.append(Best(n, mean_interval((weight * table).sum(1)), bound, away))
    return out


def beta_ladder(rewards: ArrayLike, count: int = 24) -> list[float]:
    """Return β's in equal ratios from where the tilt hardly moves to where a few samples carry it, descending."""
    table = _rewards(rewards, least=2)
    spread = float(table.std(axis=1).mean()) or 1.0
    return [float(beta) for beta in np.geomspace(20 * spread, spread / 8, count)]


def frontier_at(tilts: Sequence[Tilt], level: float) -> float | None:
    """Return the frontier's reward at a KL, between two trusted tilts; None beyond them."""
    known = sorted((tilt.kl.mean or 0.0, tilt.reward.mean or 0.0) for tilt in tilts if tilt.trusted)
    return crossing([x for x, _ in known], [y for _, y in known], level) if known else None


def _tilted(table: Table, beta: float) -> tuple[Table, Table, Table]:
    """Return reward, KL and effective sample size of each prompt, [P] each."""
    logit = table / beta
    top = logit.max(1, keepdims=True)
    weight = np.exp(logit - top)
    total = weight.sum(1, keepdims=True)
    share = weight / total
    gained = (share * table).sum(1)
    away = (share * logit).sum(1) - (top + np.log(total / table.shape[1]))[:, 0]
    return gained, np.maximum(away, 0.0), 1 / (share**2).sum(1)


def _chances(scores: Table, n: int) -> Table:
    """Return the chance of each of M samples to be the best of a random n of them, equal scores sharing it."""
    m = len(scores)
    # C(i, n−1)/C(m, n) for i others below: by logarithms, since both overflow
    below = np.array([_log_choose(i, n - 1) for i in range(m)]) - _log_choose(m, n)
    chance = np.empty(m)
    order = np.argsort(scores, kind="stable")
    chance[order] = np.exp(below)
    _, group = np.unique(scores, return_inverse=True)
    return np.asarray((np.bincount(group, chance) / np.bincount(group))[group], np.float64)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) if 0 <= k <= n else -math.inf


def _tied_kl(scores: Table, n: int) -> float:
    """Return the KL of best-of-n from the reference where each score has its share of the samples."""
    _, count = np.unique(scores, return_counts=True)
    share = count / count.sum()
    upto = np.cumsum(share)
    mass = np.minimum(upto, 1.0) ** n - np.maximum(upto - share, 0.0) ** n
    kept = mass > 0
    return float((mass[kept] * np.log(mass[kept] / share[kept])).sum())


def _rewards(values: ArrayLike, *, least: int) -> Table:
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or table.shape[1] < least or not len(table):
        raise ConfigError(
            f"rewards have shape {list(table.shape)}; they are [prompts, samples], at least {least} samples a prompt."
        )
    if not np.isfinite(table).all():
        raise NonFiniteError(
            "a reward is NaN or infinite, so no mean of them is known; mend the reward, or leave it out."
        )
    return table
