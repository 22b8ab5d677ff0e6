"""Estimators of KL(π‖π_ref) from tokens that π drew, and what their gradients are in expectation.

With a = log π − log π_ref at a token drawn from π:

| estimator | its mean | the mean of its gradient |
| --- | --- | --- |
| k1 = a | KL(π‖π_ref) | 0: as a reward it is right, as a loss it does nothing |
| k2 = a²/2 | to second order KL(π‖π_ref) | ∇KL(π‖π_ref) |
| k3 = e^{−a} − 1 + a | KL(π‖π_ref) | ∇KL(π_ref‖π), the other divergence |
| ρ·k3, ρ = π/π_old | KL(π‖π_ref) | ∇KL(π‖π_ref) |

All at the policy that drew the token (ρ = 1). k1 and k3 are Schulman's (2020). Per token the states are those that were
drawn, without gradient: the part of a sequence's KL that comes from going elsewhere is missing (`docs/on-policy.md`).
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Estimator = Literal["k2", "k3", "rho_k3"]
"""Those that are of use as a loss."""

HELD = 20.0
"""Exponents beyond this, in nats, are held, without gradient: e²⁰ is a ratio of half a billion."""


def k1(log_ratio: Tensor) -> Tensor:
    """Return a, nats; of either sign."""
    return log_ratio


def k2(log_ratio: Tensor) -> Tensor:
    """Return a²/2, nats, ≥ 0."""
    return log_ratio.square() / 2


def k3(log_ratio: Tensor) -> Tensor:
    """Return e^{−a} − 1 + a, nats, ≥ 0."""
    return (-log_ratio).clamp(-HELD, HELD).expm1() + log_ratio


def estimate(name: Estimator, logp: Tensor, old: Tensor, reference: Tensor) -> Tensor:
    """Return an estimator at each token, with its gradient in `logp`.

    Args:
        name: Which.
        logp: log π of tokens drawn from π_old, nats.
        old: log π_old, without gradient, nats.
        reference: log π_ref, nats.
    """
    log_ratio = logp - reference
    if name == "k2":
        return k2(log_ratio)
    if name == "k3":
        return k3(log_ratio)
    return ratio(logp, old) * k3(log_ratio)


def ratio(logp: Tensor, old: Tensor) -> Tensor:
    """Return ρ = π/π_old, exactly 1 where `old` is `logp` without its gradient."""
    return (logp - old).clamp(-HELD, HELD).exp()
