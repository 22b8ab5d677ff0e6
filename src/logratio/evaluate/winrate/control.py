"""The length-controlled win rate: what the win rate would be if both answers were equally long.

The regression of AlpacaEval 2 (Dubois et al. 2024, arXiv:2404.04475), on soft preferences y of a over b:

    logit P(a ≻ b) = θ + φ·tanh(Δ / std Δ) + ψ·d       Δ: characters of a's answer less those of b's; d: difficulty

fitted with an L1 penalty on all coefficients and its strength chosen by five-fold cross-validation over prompts. The
controlled rate is the mean over prompts of σ(θ + ψ·d). Theirs differs in two ways: d is known for each of their 805
prompts from a joint fit over many models, where here it is a field of the prompts or left out; and 2 × 805 judgements
of models that were told to be brief or verbose anchor φ with weight 0.2, which exist for their prompts only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...maths.intervals import Measure
from .logistic import FOLDS, cross_validated, fit
from .resample import draws, measure

Floats = NDArray[np.float64]

LEAST = 2 * FOLDS
"""Prompts below which nothing is cross-validated, and no controlled rate is given."""


@dataclass(frozen=True)
class Controlled:
    """A controlled win rate.

    Attributes:
        rate: The rate, its interval from the bootstrap over prompts with `strength` held; ½ without an interval where
            cross-validation leaves nothing in the regression.
        model: θ, logits.
        length: φ, logits between equal lengths and a much longer answer; 0 where all are equally long.
        difficulty: ψ, logits a unit; None where it is left out.
        strength: C, that of the data against the penalty.
        spread: Standard deviation of Δ, characters.
    """

    rate: Measure
    model: float
    length: float
    difficulty: float | None
    strength: float
    spread: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, the rate's own beside each other."""
        own = {"model": self.model, "length": self.length, "difficulty": self.difficulty}
        return {**self.rate.to_json(), **own, "strength": self.strength, "spread": self.spread}


def controlled(
    values: ArrayLike,
    lengths: tuple[ArrayLike, ArrayLike],
    prompts: Sequence[str],
    *,
    difficulty: ArrayLike | None = None,
    seed: int = 0,
) -> Controlled | None:
    """Return the length-controlled win rate of a over b; None with fewer than `LEAST` prompts.

    Swapping a and b gives 1 − rate to rounding, and a model against itself ½.

    Args:
        values: n preferences for a, in [0, 1].
        lengths: Characters of a's answers and of b's, n each.
        prompts: n hashes of prompts: equal ones are drawn and held out together.
        difficulty: n numbers, one a prompt; None leaves them out.
        seed: Of the bootstrap.
    """
    y = np.asarray(values, np.float64)
    names, at = np.unique(np.asarray(prompts), return_inverse=True)  # hashes, so that their order is no order of data
    if len(names) < LEAST:
        return None
    gap = np.asarray(lengths[0], np.float64) - np.asarray(lengths[1], np.float64)
    spread = float(gap.std(ddof=1))
    if spread == 0 and gap.any():  # all equally far apart: length and model cannot be told apart
        return None
    columns = [np.ones(len(y)), np.tanh(gap / spread) if spread else np.zeros(len(y))]
    if difficulty is not None:
        columns.append(np.asarray(difficulty, np.float64))
    x = np.stack(columns, axis=1)
    strength = cross_validated(x, y, at % FOLDS)
    (own,) = fit(x, y, np.ones((1, len(y))), strength)
    if not own.any() and (y != 0.5).any():  # the penalty's ½, which no resampling would move
        return Controlled(Measure(0.5, None, None, len(y)), 0.0, 0.0, None if len(own) < 3 else 0.0, strength, spread)
    rates = [_rate(fit(x, y, weight[:, at], strength), x, weight[:, at]) for weight in draws(len(names), seed)]
    rate = measure(float(_rate(own[None], x, np.ones((1, len(y))))[0]), np.concatenate(rates), len(y))
    return Controlled(
        rate, float(own[0]), float(own[1]), float(own[2]) if difficulty is not None else None, strength, spread
    )


def _rate(beta: Floats, x: Floats, weight: Floats) -> Floats:
    """Return the weighted mean prediction at equal lengths, [B]."""
    level = x.copy()
    level[:, 1] = 0.0
    predicted = (1 + np.tanh(beta @ level.T / 2)) / 2
    mean: Floats = (weight * predicted).sum(axis=1) / weight.sum(axis=1)
    return mean
