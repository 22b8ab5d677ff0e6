"""Comparisons as rows with weights: the whole population, or a finite sample of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import ConfigError
from ..maths.counter import stream
from .preferences import check
from .world import World


@dataclass(frozen=True)
class Comparisons:
    """C rows, each an answered question.

    Attributes:
        prompt_C, winner_C, loser_C: Indices, int64.
        weight_C: Share of the row, > 0, sums to 1, float64.
        probability_C: Probability that the winner is preferred, 1 for a plain label.
        margin_C: Margin of the row, 0 where there is none.
        tie_C: 0 none, 1 tie (winner and loser then stand in no order).
    """

    prompt_C: Tensor
    winner_C: Tensor
    loser_C: Tensor
    weight_C: Tensor
    probability_C: Tensor
    margin_C: Tensor
    tie_C: Tensor

    def __len__(self) -> int:
        return len(self.weight_C)

    def wins(self, prompts: int, responses: int) -> Tensor:
        """Return the weight of each ordered pair, [X, Y, Y]; a soft label counts on both sides, a tie on neither."""
        table = torch.zeros(prompts, responses, responses, dtype=torch.float64)
        plain_C = self.weight_C * (self.tie_C == 0)
        table.index_put_((self.prompt_C, self.winner_C, self.loser_C), plain_C * self.probability_C, accumulate=True)
        against_C = plain_C * (1 - self.probability_C)
        return table.index_put_((self.prompt_C, self.loser_C, self.winner_C), against_C, accumulate=True)

    def good(self, prompts: int, responses: int) -> Tensor:
        """Return the weight with which each response wins, [X, Y]: its rows labelled good in unpaired data."""
        return self.wins(prompts, responses).sum(-1)

    def bad(self, prompts: int, responses: int) -> Tensor:
        """Return the weight with which each response loses, [X, Y]: its rows labelled bad in unpaired data."""
        return self.wins(prompts, responses).sum(-2)


def population(
    world: World,
    preference_XYY: Tensor,
    pairs_XYY: Tensor,
    *,
    ties_XYY: Tensor | None = None,
    margin_XYY: Tensor | None = None,
) -> Comparisons:
    """Return every comparison with its share: weight(x, y≻y') = w(x)·(μ(y,y') + μ(y',y))·P(y≻y').

    Args:
        world: Prompt weights.
        preference_XYY: P(y≻y'|x) where it is no tie.
        pairs_XYY: μ, from `coverage`.
        ties_XYY: Probability of a tie, symmetric, in [0, 1]; None: there are none.
        margin_XYY: Margin of each ordered pair; None: 0.
    """
    asked = _asked(world, preference_XYY, pairs_XYY)
    ties = torch.zeros_like(asked) if ties_XYY is None else ties_XYY.double()
    won = _rows(asked * (1 - ties) * check(preference_XYY), margin_XYY)
    tied = _rows((asked * ties).triu(1), margin_XYY)
    return _join(won, replace(tied, tie_C=torch.ones_like(tied.weight_C)))


def soft(world: World, preference_XYY: Tensor, pairs_XYY: Tensor, *, margin_XYY: Tensor | None = None) -> Comparisons:
    """Return each unordered pair once, with the probability that its first response is preferred.

    The same population as `population` for a loss that is linear in the probability.
    """
    rows = _rows(_asked(world, preference_XYY, pairs_XYY).triu(1), margin_XYY)
    return replace(rows, probability_C=check(preference_XYY)[rows.prompt_C, rows.winner_C, rows.loser_C])


def sample(whole: Comparisons, n: int, *seed: int | str) -> Comparisons:
    """Return n independent draws from a population, equal rows added up: weights are counts / n.

    Args:
        whole: The population.
        n: Number of comparisons, ≥ 1.
        seed: Key of the counter stream.
    """
    if n < 1:
        raise ConfigError(f"n is {n}; a sample needs at least 1 comparison.")
    share = (whole.weight_C / whole.weight_C.sum()).numpy()
    count_C = torch.from_numpy(stream(*seed, "comparisons", n).multinomial(n, share))
    kept = count_C > 0
    rows = {name: column[kept] for name, column in vars(whole).items()}
    return Comparisons(**{**rows, "weight_C": count_C[kept].double() / n})


def _asked(world: World, preference_XYY: Tensor, pairs_XYY: Tensor) -> Tensor:
    """Return w(x)·(μ(y,y') + μ(y',y)), [X, Y, Y]: each unordered pair stands in both orders."""
    prompts, responses = world.shape
    if not preference_XYY.shape == pairs_XYY.shape == (prompts, responses, responses):
        raise ConfigError(
            f"the preference has shape {list(preference_XYY.shape)} and the pairs {list(pairs_XYY.shape)}; this world "
            f"needs {[prompts, responses, responses]} for both."
        )
    return world.weight_X[:, None, None] * (pairs_XYY + pairs_XYY.transpose(-1, -2))


def _rows(weight_XYY: Tensor, margin_XYY: Tensor | None) -> Comparisons:
    prompt, winner, loser = torch.nonzero(weight_XYY, as_tuple=True)
    weight = weight_XYY[prompt, winner, loser]
    margin = torch.zeros_like(weight) if margin_XYY is None else margin_XYY.double()[prompt, winner, loser]
    return Comparisons(prompt, winner, loser, weight, torch.ones_like(weight), margin, torch.zeros_like(weight))


def _join(first: Comparisons, second: Comparisons) -> Comparisons:
    return Comparisons(*(torch.cat((a, b)) for a, b in zip(vars(first).values(), vars(second).values(), strict=True)))
