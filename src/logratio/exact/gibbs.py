"""The KL-regularised optimum in closed form: its policy, its value, and what every other policy loses against it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ConfigError
from .world import World


def log_partition(world: World, beta: float) -> Tensor:
    """Return log Z(x) = log Σ_y π_ref(y|x)·e^{r(x,y)/β}, [X].

    Args:
        world: Reference and reward.
        beta: β > 0, in 1/nat.
    """
    return torch.logsumexp(world.reference_XY + world.reward_XY / positive("beta", beta), dim=-1)


def optimum(world: World, beta: float) -> Tensor:
    """Return the policy that maximises E r − β·KL(π‖π_ref), as log-probs [X, Y].

        π*(y|x) = π_ref(y|x)·e^{r(x,y)/β} / Z(x)

    Rafailov et al. 2023 (arXiv:2305.18290), Eq. 4.
    """
    return torch.log_softmax(world.reference_XY + world.reward_XY / positive("beta", beta), dim=-1)


def kl(p_XY: Tensor, q_XY: Tensor) -> Tensor:
    """Return KL(p‖q) = Σ_y p·(log p − log q) for each prompt, nats ≥ 0, [X].

    Args:
        p_XY: Log-probs; −∞ stands for probability 0, where p log p = 0.
        q_XY: Log-probs; the result is +∞ where q vanishes and p does not.
    """
    mass_XY = p_XY.exp()
    return torch.where(mass_XY > 0, mass_XY * (p_XY - q_XY), torch.zeros_like(mass_XY)).sum(-1)


def expected_reward(world: World, policy_XY: Tensor) -> Tensor:
    """Return E_{y~π} r(x, y) for each prompt, [X]."""
    return (policy_XY.exp() * world.reward_XY).sum(-1)


def value(world: World, policy_XY: Tensor, beta: float) -> Tensor:
    """Return J(π) = E_{y~π} r − β·KL(π‖π_ref) for each prompt, [X]; at the optimum it is β·log Z."""
    return expected_reward(world, policy_XY) - positive("beta", beta) * kl(policy_XY, world.reference_XY)


def regret(world: World, policy_XY: Tensor, beta: float) -> Tensor:
    """Return J(π*) − J(π) = β·KL(π‖π*) for each prompt, ≥ 0, [X]."""
    return positive("beta", beta) * kl(policy_XY, optimum(world, beta))


def implicit_reward(world: World, policy_XY: Tensor, beta: float) -> Tensor:
    """Return β·log π(y|x)/π_ref(y|x), nats, [X, Y].

    At the optimum it is r(x, y) − β·log Z(x): the reward up to a constant of the prompt.
    """
    return positive("beta", beta) * (policy_XY - world.reference_XY)


def preference_optimum(world: World, preference_XYY: Tensor, rival_XY: Tensor, tau: float) -> Tensor:
    """Return the policy that maximises P(π≻μ) − τ·KL(π‖π_ref), as log-probs [X, Y].

        π(y|x) ∝ π_ref(y|x)·exp(P(y≻μ|x)/τ)

    Azar et al. 2023 (arXiv:2310.12036), Eq. 6 with Ψ the identity: the minimiser of IPO's loss where both responses
    are drawn from μ.

    Args:
        world: Reference.
        preference_XYY: P(y≻y'|x), [X, Y, Y].
        rival_XY: log μ(y|x), [X, Y].
        tau: τ > 0.
    """
    wins_XY = wins_against(preference_XYY, rival_XY)
    return torch.log_softmax(world.reference_XY + wins_XY / positive("tau", tau), dim=-1)


def wins_against(preference_XYY: Tensor, rival_XY: Tensor) -> Tensor:
    """Return P(y≻μ|x) = Σ_y' μ(y'|x)·P(y≻y'|x), [X, Y], from P [X, Y, Y] and log μ [X, Y]."""
    return (preference_XYY @ rival_XY.exp().unsqueeze(-1)).squeeze(-1)


def win_rate(preference_XYY: Tensor, policy_XY: Tensor, rival_XY: Tensor) -> Tensor:
    """Return P(π≻μ|x) = E_{y~π} P(y≻μ|x), [X]; ½ where both are the same policy."""
    return (policy_XY.exp() * wins_against(preference_XYY, rival_XY)).sum(-1)


def positive(name: str, value: float) -> float:
    """Return a coefficient that must be > 0 and finite.

    Raises:
        ConfigError: It is not.
    """
    if not 0 < value < float("inf"):
        raise ConfigError(f"{name} is {value}; it must be > 0 and finite, since it divides; 0.1 is common.")
    return value
