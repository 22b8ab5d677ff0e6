"""The optimum under any f-divergence: a root of one monotone equation a prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError, nearest
from .gibbs import positive
from .world import World


@dataclass(frozen=True)
class Link:
    """An f-divergence D_f(π‖π_ref) = E_{π_ref} f(π/π_ref), f convex, f(1) = 0, by its derivative.

    Attributes:
        divergence: log-ratio a = log π/π_ref → f(e^a).
        slope: a → f'(e^a), up to a constant that cancels between two responses; increasing.
        inverse: s → the a with slope(a) = s, +∞ where s lies above every slope.
    """

    divergence: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]


def _below_zero(inverse: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return an inverse that answers +∞ at s ≥ 0, which these slopes never reach."""
    return lambda s: torch.where(s < 0, inverse(torch.where(s < 0, s, -1.0)), float("inf"))


def _solve_exp_plus(s: Tensor) -> Tensor:
    """Return the a with e^a + a = s, by Newton in the variable that keeps it convex."""
    a = torch.where(s > 1, s.clamp(min=1).log(), s)
    for _ in range(60):
        a = a - (a.exp() + a - s) / (a.exp() + 1)
    return a


_REVERSE = Link(lambda a: a.exp() * a, lambda a: a, lambda s: s)
_FORWARD = Link(lambda a: -a, lambda a: -torch.exp(-a), _below_zero(lambda s: -torch.log(-s)))
_JENSEN_SHANNON = Link(
    lambda a: a.exp() * a - (a.exp() + 1) * torch.log((a.exp() + 1) / 2),
    torch.nn.functional.logsigmoid,
    _below_zero(lambda s: -torch.log(torch.expm1(-s))),
)
_CHI_MIXTURE = Link(lambda a: (a.exp() - 1) ** 2 / 2 + a.exp() * a, lambda a: a.exp() + a, _solve_exp_plus)


def _alpha(alpha: float) -> Link:
    if not 0 < alpha < 1:
        raise ConfigError(
            f"alpha is {alpha}; an α-divergence needs 0 < α < 1, which leaves out its ends; "
            'take "reverse_kl" for α → 0 and "forward_kl" for α → 1.'
        )
    return Link(
        lambda a: (torch.exp((1 - alpha) * a) - (1 - alpha) * a.exp() - alpha) / (alpha * (alpha - 1)),
        lambda a: -torch.exp(-alpha * a) / alpha,
        _below_zero(lambda s: -torch.log(-alpha * s) / alpha),
    )


_LINKS = {
    "reverse_kl": _REVERSE,
    "forward_kl": _FORWARD,
    "jensen_shannon": _JENSEN_SHANNON,
    "chi_mixture": _CHI_MIXTURE,
}
NAMES = (*_LINKS, "alpha")
"""Divergences of f-DPO (Wang et al. 2023, arXiv:2309.16240) and χPO (Huang et al. 2024, arXiv:2407.13399)."""


def link(name: str, *, alpha: float | None = None) -> Link:
    """Return a divergence by name.

    Args:
        name: One of `NAMES`.
        alpha: α in (0, 1) of "alpha", where α → 0 is the reverse and α → 1 the forward KL; None for the others.

    Raises:
        ConfigError: No such name, or α out of range, or α given where it does not apply.
    """
    if name not in NAMES:
        raise ConfigError(f'divergence "{name}" does not exist; {nearest(name, NAMES)}')
    if (name == "alpha") != (alpha is not None):
        raise ConfigError(f'alpha is {alpha} with divergence "{name}"; it goes with "alpha", and only with it.')
    return _alpha(alpha) if alpha is not None else _LINKS[name]


def divergence(policy_XY: Tensor, reference_XY: Tensor, link: Link) -> Tensor:
    """Return D_f(π‖π_ref) for each prompt, ≥ 0, [X], from log-probs; π > 0 everywhere."""
    return (reference_XY.exp() * link.divergence(policy_XY - reference_XY)).sum(-1)


def optimum(world: World, beta: float, link: Link) -> Tensor:
    """Return the policy that maximises E r − β·D_f(π‖π_ref), as log-probs [X, Y].

        π*(y|x) = π_ref(y|x)·(f')⁻¹((r(x,y) − λ(x))/β),   λ(x) such that Σ_y π* = 1

    Wang et al. 2023, Thm. 1; 0 is outside the domain of f', so no response vanishes. The sum falls with λ. All ratios
    are ≥ 1 at λ = min r − β·f'(1) and ≤ 1 at λ = max r − β·f'(1), and between these λ is bisected to the last bit,
    measured from max r so that digits near a pole of (f')⁻¹ are kept.
    """
    below_XY = (world.reward_XY - world.reward_XY.amax(-1, keepdim=True)) / positive("beta", beta)
    one = link.slope(torch.zeros((), dtype=torch.float64))
    low_X, high_X = below_XY.amin(-1) - one, torch.zeros_like(below_XY[:, 0]) - one
    for _ in range(200):
        middle_X = (low_X + high_X) / 2
        total_X = torch.logsumexp(world.reference_XY + link.inverse(below_XY - middle_X[:, None]), -1)
        low_X, high_X = torch.where(total_X > 0, middle_X, low_X), torch.where(total_X > 0, high_X, middle_X)
    return world.reference_XY + link.inverse(below_XY - high_X[:, None])
