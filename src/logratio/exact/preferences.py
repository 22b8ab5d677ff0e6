"""Who is preferred: matrices P(y≻y'|x) [X, Y, Y] with P + Pᵀ = 1, so ½ on the diagonal."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import ConfigError


def bradley_terry(reward_XY: Tensor) -> Tensor:
    """Return P(y≻y') = σ(r(y) − r(y')), [X, Y, Y]. Bradley and Terry 1952."""
    return torch.sigmoid(reward_XY.double()[:, :, None] - reward_XY.double()[:, None, :])


def flipped(preference_XYY: Tensor, rate: float) -> Tensor:
    """Return (1−ε)·P + ε·Pᵀ: each label is turned round with probability ε.

    Args:
        preference_XYY: [X, Y, Y].
        rate: ε in [0, 1].
    """
    if not 0 <= rate <= 1:
        raise ConfigError(f"flip rate is {rate}; it is a probability, so give a number in [0, 1].")
    return (1 - rate) * check(preference_XYY) + rate * preference_XYY.transpose(-1, -2)


def mixture(parts: Sequence[tuple[float, Tensor]]) -> Tensor:
    """Return Σ_k share_k·P_k: each label comes from an annotator of type k, who is drawn anew.

    Args:
        parts: (share > 0, [X, Y, Y]); shares are normalised here.
    """
    shares = [share for share, _ in parts]
    if not parts or min(shares) <= 0:
        raise ConfigError(f"shares {shares} must be > 0, one for each annotator type, and at least one.")
    stacked = torch.stack([share / sum(shares) * check(preference) for share, preference in parts])
    return stacked.sum(0)


def cycle(win: float, *, prompts: int = 1, responses: int = 3) -> Tensor:
    """Return a cycle in which each response beats the next half of the circle: rock–paper–scissors for three.

        P(i≻j) = a where (j − i) mod Y is in 1 … (Y−1)/2

    Args:
        win: a in [0, 1].
        prompts: X ≥ 1.
        responses: Y ≥ 3, odd.
    """
    if not 0 <= win <= 1 or responses < 3 or responses % 2 == 0:
        raise ConfigError(
            f"a cycle with win probability {win} and {responses} responses does not exist; take a probability in "
            "[0, 1] and an odd number of responses ≥ 3, so that each beats as many as beat it."
        )
    place = torch.arange(responses)
    ahead = (place[None, :] - place[:, None]) % responses
    shares = torch.tensor([1 - win, win], dtype=torch.float64)
    beats = shares[(ahead <= responses // 2).long()]
    beats.fill_diagonal_(0.5)
    return beats.expand(prompts, responses, responses).clone()


def longer_preferred(length_XY: Tensor, strength: float = math.inf) -> Tensor:
    """Return a preference for length regardless of quality, P(y≻y') = σ(strength·(|y| − |y'|)).

    Args:
        length_XY: Tokens.
        strength: > 0, nats a token; infinite: the longer one always wins, and equal lengths are a coin's throw.
    """
    if not strength > 0:
        raise ConfigError(f"strength is {strength}; it must be > 0 for the longer response to be preferred.")
    gap = length_XY.double()[:, :, None] - length_XY.double()[:, None, :]
    return (torch.sign(gap) + 1) / 2 if math.isinf(strength) else torch.sigmoid(strength * gap)


def deterministic(preference_XYY: Tensor) -> Tensor:
    """Return the labels of annotators who always agree: 1 where P > ½, 0 where P < ½, ½ where P = ½."""
    return (torch.sign(check(preference_XYY) - 0.5) + 1) / 2


def majority(preference_XYY: Tensor, votes: int) -> Tensor:
    """Return the probability that y wins a majority of n independent votes; an even split is a coin's throw.

        P_n = Σ_{k>n/2} C(n,k)·P^k·(1−P)^{n−k}  (+ ½ of the term k = n/2)

    Args:
        preference_XYY: [X, Y, Y].
        votes: n ≥ 1.
    """
    if votes < 1:
        raise ConfigError(f"votes is {votes}; a majority needs at least 1 vote.")
    p = check(preference_XYY)
    total = torch.zeros_like(p)  # in logs, since C(n, k) outgrows float64 at n = 1030
    for k in range((votes + 1) // 2, votes + 1):
        term = torch.exp(math.log(math.comb(votes, k)) + torch.xlogy(k, p) + torch.xlogy(votes - k, 1 - p))
        total = total + (term / 2 if 2 * k == votes else term)
    return total


def check(preference_XYY: Tensor) -> Tensor:
    """Return a preference that is one, as float64.

    Raises:
        ConfigError: Not [X, Y, Y], out of [0, 1], or P + Pᵀ ≠ 1.
    """
    p = preference_XYY.double()
    if p.ndim != 3 or p.shape[1] != p.shape[2]:
        raise ConfigError(f"a preference has shape {list(p.shape)}; it needs [prompts, responses, responses].")
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise ConfigError("a preference holds numbers outside [0, 1]; its entries are probabilities.")
    off = float((p + p.transpose(-1, -2) - 1).abs().max())
    if off > 1e-9:
        raise ConfigError(f"P + Pᵀ differs from 1 by {off:.3g}; one of two responses wins, so they add up to 1.")
    return p
