"""One cell: an objective in a regime, and what its optimum has to do with the truth."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..exact import coverage, gibbs
from ..exact.optimum import Kind, minimise
from ..exact.world import World
from .entries import Entry
from .regimes import Regime


@dataclass(frozen=True)
class Cell:
    """What minimising an objective over all policies, with unlimited data, leads to.

    Attributes:
        objective: Label of the row.
        regime: Name of the column.
        kind: As `exact.optimum.Optimum`: finite, boundary, limit, unbounded or stalled.
        distance: min over β of KL(π‖π*_β) in nats, π*_β ∝ π_ref·e^{r/β}: 0 if π is on the reward–KL frontier.
        beta: That β; infinite for the reference itself.
        distance_at_one: KL(π‖π*) at β = 1, nats.
        order: Share of pairs whose order by π/π_ref is that of the true reward; None where rewards are all equal.
        calibration: max |log-odds by π − true log-odds| over asked pairs, nats, where margins are log-odds; else None.
        outside: Mass of responses that are in no pair: (π, reference, optimum at β = 1); None where there are none.
    """

    objective: str
    regime: str
    kind: Kind
    distance: float
    beta: float
    distance_at_one: float
    order: float | None
    calibration: float | None
    outside: tuple[float, float, float] | None

    def row(self) -> dict[str, Any]:
        """Return the cell as JSON: numbers that are not finite become null."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def cell(entry: Entry, regime: Regime) -> Cell:
    """Minimise an objective's population loss in a regime, from the reference."""
    world = regime.world
    data = entry.population(world, regime.comparisons())
    found = minimise(partial(entry.loss, data), world.reference_XY)
    distance, beta = frontier_distance(world, found.policy_XY)
    return Cell(
        objective=entry.label,
        regime=regime.name,
        kind=found.kind,
        distance=distance,
        beta=beta,
        distance_at_one=_mean_kl(world, found.policy_XY, gibbs.optimum(world, 1.0)),
        order=_order(world, found.policy_XY),
        calibration=_calibration(regime, found.policy_XY) if entry.scaled and found.attained else None,
        outside=_outside(regime, found.policy_XY),
    )


def frontier_distance(world: World, policy_XY: Tensor) -> tuple[float, float]:
    """Return min over β of the mean KL(π‖π*_β), nats, and that β, by golden section on log β in [1e-3, 1e4]."""

    def off(log_beta: float) -> float:
        return _mean_kl(world, policy_XY, gibbs.optimum(world, math.exp(log_beta)))

    low, high = math.log(1e-3), math.log(1e4)
    ratio = (math.sqrt(5) - 1) / 2
    while high - low > 1e-9:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if off(left) <= off(right) else (left, high)
    best = (low + high) / 2
    still = _mean_kl(world, policy_XY, world.reference_XY)
    return (still, math.inf) if still <= off(best) else (off(best), math.exp(best))


def _mean_kl(world: World, p_XY: Tensor, q_XY: Tensor) -> float:
    return float(world.average(gibbs.kl(p_XY, q_XY)))


def _order(world: World, policy_XY: Tensor) -> float | None:
    """Return how many pairs of different reward π/π_ref orders rightly; vanishing responses come last together."""
    gap = world.reward_XY[:, :, None] - world.reward_XY[:, None, :]
    ratio = (policy_XY - world.reference_XY).clamp(min=-1e6)
    found = ratio[:, :, None] - ratio[:, None, :]
    asked = gap > 1e-9
    return float((found[asked] > 1e-9).double().mean()) if bool(asked.any()) else None


def _calibration(regime: Regime, policy_XY: Tensor) -> float:
    reward_XY = gibbs.implicit_reward(regime.world, policy_XY, 1.0)
    margin = reward_XY[:, :, None] - reward_XY[:, None, :]
    asked = regime.pairs_XYY + regime.pairs_XYY.transpose(-1, -2) > 0
    return float((margin - torch.logit(regime.truth_XYY))[asked].abs().max())


def _outside(regime: Regime, policy_XY: Tensor) -> tuple[float, float, float] | None:
    never = coverage.never_compared(regime.pairs_XYY)
    if not bool(never.any()):
        return None
    world = regime.world

    def mass(logs_XY: Tensor) -> float:
        return float(world.average((logs_XY.exp() * never).sum(-1)))

    return mass(policy_XY), mass(world.reference_XY), mass(gibbs.optimum(world, 1.0))
