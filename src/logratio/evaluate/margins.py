"""How held-out margins are spread, and whether they go with length: what a mean does not show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ..maths.intervals import NOTHING, Measure
from ..metrics import EQUAL, QUANTILES
from ..objectives.base import Objective, Settings
from ..objectives.metrics import Metric
from .measure import Scored

Doubles = NDArray[np.float64]

_NORMAL = NormalDist().inv_cdf(0.975)


def decided_margins(scored: Scored, metrics: Mapping[str, Metric]) -> tuple[Doubles, NDArray[np.int64]] | None:
    """Return the margins of pairs that have a winner and their places among edges; None where none are measured."""
    margin = metrics.get("margin")
    if margin is None or margin.unit != "edge":
        return None
    value = margin.value.detach().double().numpy()
    weight = None if margin.weight is None else margin.weight.detach().double().numpy()
    kept = np.arange(len(value)) if weight is None else np.flatnonzero(weight > 0)
    return value[kept], kept


def quantiles(margins: Doubles) -> dict[str, float | None]:
    """Return the quantiles `metrics.QUANTILES` by name, as p05; None each where there is no margin."""
    found = np.quantile(margins, QUANTILES) if len(margins) else [None] * len(QUANTILES)
    return {
        f"p{100 * level:02.0f}": None if value is None else float(value)
        for level, value in zip(QUANTILES, found, strict=True)
    }


def length_correlation(margins: Doubles, difference: Doubles, prompts: int) -> Measure:
    """Return the correlation of margin and length difference through the origin, with Fisher's interval.

        r = Σ m·d / √(Σ m² · Σ d²),   z = artanh r ± 1.96/√(prompts − 3)

    It is Pearson's r over the pairs taken in both orders, so that it hangs on no order of a pair. Pearson's r of chosen
    less rejected would be near 0 where every chosen response is longer by as much and every margin as large.

    Nothing is known where all margins are 0 up to rounding (a policy that still is its reference), where no lengths
    differ, or with fewer than four prompts.

    Args:
        margins: Of each pair, nats.
        difference: |y⁺| − |y⁻| of each, tokens.
        prompts: Different prompts among them: pairs of one prompt count as one observation.
    """
    if prompts < 4 or np.abs(margins).max(initial=0) <= EQUAL or not difference.any():
        return NOTHING
    r = float((margins * difference).sum() / math.sqrt((margins**2).sum() * (difference**2).sum()))
    centre, half = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, r))), _NORMAL / math.sqrt(prompts - 3)
    return Measure(r, math.tanh(centre - half), math.tanh(centre + half), len(margins), (1 - r * r) * half / _NORMAL)


def margin_spread(
    scored: Scored, objective: Objective, settings: Settings
) -> tuple[dict[str, Measure], dict[str, float | None]]:
    """Return the correlation with length as a measure, and the quantiles; both empty where nothing has a margin.

    Args:
        scored: A data set with a policy's log-probs or scores.
        objective: Whose margin.
        settings: Its settings.
    """
    found = decided_margins(scored, objective.metrics(scored.logps, scored.batch, settings))
    if found is None:
        return {}, {}
    margins, kept = found
    batch = scored.batch
    length = batch.length_S.double().numpy()
    difference = length[batch.winner_E.numpy()] - length[batch.loser_E.numpy()]
    prompt_E = scored.prompt_G.index_select(0, batch.spans.group_S).index_select(0, batch.winner_E).numpy()
    correlation = length_correlation(margins, difference[kept], len(np.unique(prompt_E[kept])))
    return {"length_correlation": correlation}, quantiles(margins)
