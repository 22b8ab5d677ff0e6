"""The reward–KL frontier of a finite world: what no policy exceeds, and best-of-N beneath it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from .bestofn import best_of_n
from .gibbs import expected_reward, kl, optimum
from .world import World


@dataclass(frozen=True)
class Place:
    """Where a policy stands, averaged over a world's prompts.

    Attributes:
        kl: KL(π‖π_ref), nats a response, ≥ 0.
        reward: E r, in the reward's own unit.
    """

    kl: float
    reward: float


def place(world: World, policy_XY: Tensor) -> Place:
    """Return where a policy stands, from log-probs [X, Y]."""
    away, gained = kl(policy_XY, world.reference_XY), expected_reward(world, policy_XY)
    return Place(float(world.average(away)), float(world.average(gained)))


def gibbs_curve(world: World, betas: Iterable[float]) -> list[Place]:
    """Return the frontier at some β: the policy π_ref·e^{r/β}/Z has the highest reward of all that are as near.

    One β serves all prompts, since the frontier bounds the mean reward at a mean KL.

    Args:
        world: Reference and reward.
        betas: Each > 0, in 1/nat; smaller goes further.
    """
    return [place(world, optimum(world, beta)) for beta in betas]


def best_of_n_curve(world: World, ns: Iterable[int], score_XY: Tensor | None = None) -> list[Place]:
    """Return where best-of-N stands, its KL exact, so less than log N − (N−1)/N wherever responses share a score.

    Args:
        world: Reference and reward.
        ns: Each N ≥ 1.
        score_XY: What the best is chosen by; default: the reward.
    """
    score_XY = world.reward_XY if score_XY is None else score_XY
    return [place(world, best_of_n(world.reference_XY, score_XY, n)) for n in ns]
