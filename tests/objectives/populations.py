"""An objective's loss on a whole population of a finite world, as a function of logits."""

import torch

from logratio import objectives
from logratio.exact import comparisons, coverage, preferences
from logratio.exact.population import compared, duels
from logratio.exact.world import build, policy
from logratio.objectives.views import PairLogps


def population_loss(name, world, rows, **settings):
    """Return logits [X, Y] → Σ_k c_k · mean of ℓ_k."""
    objective = objectives.load(name)
    chosen = objective.settings(**settings)
    data = duels(world, rows) if objective.data == "rankings" else compared(world, rows)
    terms = objective.terms(chosen)

    def total(logits_XY):
        losses = objective.losses(data.logps(policy(logits_XY)), data.batch, chosen)
        return sum(terms[name].coefficient * data.mean(loss, terms[name].unit) for name, loss in losses.items())

    return total


def bradley_terry(world):
    """Every pair of responses asked equally often, answered by the true reward."""
    pairs = coverage.uniform(*world.shape)
    return comparisons.population(world, preferences.bradley_terry(world.reward_XY), pairs)


def one_pair(p):
    """Two responses under a uniform reference, the first preferred with probability p."""
    world = build(torch.zeros(1, 2))
    preference = torch.tensor([[[0.5, p], [1 - p, 0.5]]], dtype=torch.float64)
    return world, comparisons.population(world, preference, coverage.uniform(1, 2))


def sides(chosen, rejected, *, probability=1.0):
    """Pairs by the log-ratio of each side, [E], around references of −7 and −5 nats."""
    chosen, rejected = torch.broadcast_tensors(*(torch.as_tensor(v, dtype=torch.float64) for v in (chosen, rejected)))
    one = torch.ones_like(chosen)
    return PairLogps(
        chosen=(chosen - 7).clone().requires_grad_(),
        rejected=(rejected - 5).clone().requires_grad_(),
        chosen_length=one,
        rejected_length=one,
        probability=probability * one,
        reference_chosen=-7 * one,
        reference_rejected=-5 * one,
    )
