"""The KL-regularised preference game: its equilibrium, and the iterations that are meant to reach it.

Two players propose policies; the first is paid P_τ(π≻π') = P(π≻π') − τ·KL(π‖μ) + τ·KL(π'‖μ), and the second the
opposite. No reward is assumed, so preferences may go in circles (Munos et al. 2023, arXiv:2312.00886).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError, NonFiniteError
from .gibbs import positive, wins_against


@dataclass(frozen=True)
class Play:
    """Where an iteration stands after its last step.

    Attributes:
        last_XY: Log-probs of the last policy.
        average_XY: Log-probs of the mean of all iterates, the start left out.
    """

    last_XY: Tensor
    average_XY: Tensor


def nash(reference_XY: Tensor, preference_XYY: Tensor, tau: float, *, tolerance: float = 1e-13) -> Tensor:
    """Return the equilibrium policy, the same for both players, as log-probs [X, Y].

        π(y|x) ∝ μ(y|x)·exp(P(y≻π|x)/τ)

    Newton's method on the logits, with τ brought down from 1 by halves: P − ½ is skew, so the Jacobian I − (P − ½)·S/τ
    (S the covariance of the softmax) has no eigenvalue with real part below 1, and the equilibrium is unique.

    Args:
        reference_XY: log μ(y|x).
        preference_XYY: P(y≻y'|x).
        tau: τ > 0.
        tolerance: Largest residual |log π − log μ − P(·≻π)/τ + constant|, nats, relative to 1/τ.

    Raises:
        NonFiniteError: Newton's method did not reach the tolerance.
    """
    heat = max(positive("tau", tau), 1.0)
    logits_XY = torch.log_softmax(reference_XY, -1)
    while True:
        logits_XY, residual = _newton(logits_XY, reference_XY, preference_XYY, heat)
        if heat == tau:
            break
        heat = max(tau, heat / 2)
    if not residual <= tolerance * max(1.0, 1 / tau) * 100:
        raise NonFiniteError(f"the equilibrium at tau {tau} was found to {residual:.1g} nat only; take a larger tau.")
    return torch.log_softmax(logits_XY, -1)


def exploitability(reference_XY: Tensor, preference_XYY: Tensor, policy_XY: Tensor, tau: float) -> Tensor:
    """Return what the best answer to π gains over ½ in the regularised game, ≥ 0, 0 at the equilibrium only, [X].

    max_π' P_τ(π'≻π) − ½ = τ·log Σ μ·exp(P(·≻π)/τ) + τ·KL(π‖μ) − ½
    """
    best_X = tau * torch.logsumexp(reference_XY + wins_against(preference_XYY, policy_XY) / positive("tau", tau), -1)
    return best_X + tau * (policy_XY.exp() * (policy_XY - reference_XY)).sum(-1) - 0.5


def multiplicative_weights(start_XY: Tensor, preference_XYY: Tensor, *, eta: float, steps: int) -> Play:
    """Play π_{t+1}(y) ∝ π_t(y)·exp(η·P(y≻π_t)), exactly: SPPO's update (Wu et al. 2024, arXiv:2405.00675).

    Its average approaches the equilibrium of the game without KL; its last policy circles it.

    Args:
        start_XY: Log-probs.
        preference_XYY: P(y≻y'|x).
        eta: η > 0.
        steps: ≥ 1.
    """
    positive("eta", eta)
    return _play(start_XY, steps, lambda at_XY, t: at_XY + eta * wins_against(preference_XYY, at_XY))


def nash_md(reference_XY: Tensor, preference_XYY: Tensor, tau: float, *, steps: int, eta: float | None = None) -> Play:
    """Play Nash mirror descent, exactly, from the reference (Munos et al. 2023, §5).

        π_t^μ ∝ π_t^{1−ητ}·μ^{ητ},   π_{t+1} ∝ π_t^μ·exp(η·P(·≻π_t^μ))

    Args:
        reference_XY: log μ(y|x).
        preference_XYY: P(y≻y'|x).
        tau: τ > 0.
        steps: ≥ 1.
        eta: η in (0, 1/τ]; None: η_t = 2/(τ(t+2)), which converges to `nash`. A constant η converges to
            π ∝ μ·exp(P(·≻π^μ)/τ), whose opponent is the mixture: biased.
    """
    if eta is not None and not 0 < eta * positive("tau", tau) <= 1:
        raise ConfigError(f"eta is {eta} at tau {tau}; the mixture's exponent 1 − eta·tau needs eta in (0, 1/tau].")

    def step(at_XY: Tensor, t: int) -> Tensor:
        rate = 2 / (tau * (t + 2)) if eta is None else eta
        mixed_XY = torch.log_softmax((1 - rate * tau) * at_XY + rate * tau * reference_XY, -1)
        return mixed_XY + rate * wins_against(preference_XYY, mixed_XY)

    return _play(reference_XY, steps, step)


def _play(start_XY: Tensor, steps: int, step: Callable[[Tensor, int], Tensor]) -> Play:
    if steps < 1:
        raise ConfigError(f"steps is {steps}; an iteration makes at least 1 step.")
    at_XY, total_XY = torch.log_softmax(start_XY, -1), torch.zeros_like(start_XY)
    for t in range(steps):
        at_XY = torch.log_softmax(step(at_XY, t), -1)
        total_XY += at_XY.exp()
    return Play(at_XY, (total_XY / steps).log())


def _newton(logits_XY: Tensor, reference_XY: Tensor, preference_XYY: Tensor, tau: float) -> tuple[Tensor, float]:
    """Solve logits = log μ + (P − ½)·softmax(logits)/τ by damped Newton steps; returns the residual too."""
    skew_XYY = preference_XYY - 0.5
    eye = torch.eye(reference_XY.shape[-1], dtype=torch.float64)

    def gap(at_XY: Tensor) -> Tensor:
        return at_XY - reference_XY - (skew_XYY @ at_XY.softmax(-1).unsqueeze(-1)).squeeze(-1) / tau

    best = gap(logits_XY)
    for _ in range(100):
        mass_XY = logits_XY.softmax(-1)
        covariance = torch.diag_embed(mass_XY) - mass_XY[:, :, None] * mass_XY[:, None, :]
        move_XY = torch.linalg.solve(eye - skew_XYY @ covariance / tau, best)
        length = 1.0
        while length > 1e-6 and gap(logits_XY - length * move_XY).norm() >= best.norm():
            length /= 2
        if length <= 1e-6:  # rounding is all that is left
            break
        logits_XY = logits_XY - length * move_XY
        best = gap(logits_XY)
    return logits_XY, float(best.abs().max())
