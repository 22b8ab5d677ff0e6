"""The f-divergences that DPO's derivation admits: f' of the ratio π/π_ref, from its logarithm."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

Divergence = Literal["reverse_kl", "forward_kl", "js", "alpha", "chi_squared_mixture"]

HIGHEST = 30.0
"""Largest exponent; e^30 ≈ 10¹³ keeps β·f' and its differences far from float32's end."""


def slope(logratio: Tensor, divergence: Divergence, alpha: float | None = None) -> Tensor:
    """Return f'(e^a) up to a constant, which cancels between the two responses of a pair; increasing in a.

    | divergence | f(t) | slope |
    | --- | --- | --- |
    | reverse_kl | t·log t | a |
    | forward_kl | −log t | −e^{−a} |
    | js | t·log t − (t + 1)·log((t + 1)/2) | log σ(a) |
    | alpha | (t^{1−α} − (1−α)·t − α)/(α(α−1)) | −e^{−αa}/α |
    | chi_squared_mixture | (t − 1)²/2 + t·log t | e^a + a |

    Exponents are held at `HIGHEST`; beyond it the exponential has no gradient.

    Args:
        logratio: a = log π/π_ref, nats.
        divergence: As in the table.
        alpha: α in (0, 1) of "alpha"; α → 0 is the reverse and α → 1 the forward KL.
    """
    if divergence == "reverse_kl":
        return logratio
    if divergence == "js":
        return logsigmoid(logratio)
    grown = exponent(logratio, divergence, alpha).clamp(max=HIGHEST).exp()
    if divergence == "chi_squared_mixture":
        return grown + logratio
    return -grown / alpha if divergence == "alpha" and alpha is not None else -grown


def exponent(logratio: Tensor, divergence: Divergence, alpha: float | None = None) -> Tensor:
    """Return what `slope` exponentiates, before it is held; 0 where it exponentiates nothing that can overflow."""
    if divergence == "chi_squared_mixture":
        return logratio
    if divergence == "forward_kl":
        return -logratio
    return torch.zeros_like(logratio) if alpha is None else -alpha * logratio


def held(chosen: Tensor, rejected: Tensor, divergence: Divergence, alpha: float | None = None) -> Tensor:
    """Return 1 for pairs in which an exponent of either response was held, else 0, [E]."""
    largest = torch.maximum(exponent(chosen, divergence, alpha), exponent(rejected, divergence, alpha))
    return (largest > HIGHEST).float()
