"""Best-of-N: sample N responses from the reference and keep the one with the highest score."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import ConfigError


def best_of_n(reference_XY: Tensor, score_XY: Tensor, n: int) -> Tensor:
    """Return the best-of-N policy, as log-probs [X, Y].

        π_N(y|x) = (F(y)^N − F₋(y)^N)·π_ref(y|x)/(F(y) − F₋(y))

    F and F₋ are the reference's mass of responses that score at most, and less than, y. Responses with one score share
    their class's mass as the reference does: the first of them drawn is kept.

    Args:
        reference_XY: log π_ref(y|x).
        score_XY: Any finite scores; only their order counts.
        n: N ≥ 1.
    """
    if n < 1:
        raise ConfigError(f"n is {n}; best-of-N keeps one of at least 1 sample.")
    mass_XY = reference_XY.exp()
    at_least_XYY = score_XY[:, :, None] >= score_XY[:, None, :]
    above_XYY = score_XY[:, :, None] > score_XY[:, None, :]
    upto_XY = (at_least_XYY * mass_XY[:, None, :]).sum(-1).clamp(max=1)
    under_XY = (above_XYY * mass_XY[:, None, :]).sum(-1)
    # F^N − F₋^N = (F − F₋)·Σ_k F^{N−1−k}·F₋^k has no cancellation where the class is small
    share_XY = sum((upto_XY ** (n - 1 - k) * under_XY**k for k in range(n)), torch.zeros_like(mass_XY))
    best_XY = (mass_XY * share_XY).log()
    return best_XY - torch.logsumexp(best_XY, -1, keepdim=True)


def kl_bound(n: int) -> float:
    """Return log N − (N−1)/N, nats: KL(π_N‖π_ref) of scores without ties in the continuum, an upper bound otherwise.

    Beirami et al. 2024 (arXiv:2401.01879), Thm. 1.
    """
    return math.log(n) - (n - 1) / n
