"""From a function of pairs to a registered objective: the wiring that all pairwise objectives share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from ..batch.logps import Logps
from ..batch.needs import Needs
from ..batch.packed import PackedBatch
from . import views
from .base import Objective, Settings, Term
from .facts import Facts
from .metrics import Metric, likelihood_metrics, pair_metrics


def pairwise(
    loss: Callable[..., Tensor],
    settings: type[Settings],
    *,
    summary: str,
    formula: str,
    source: str,
    facts: Facts,
    reference: bool = True,
    supervised: bool = False,
    suggests: Mapping[str, Any] | None = None,
    suggested_by: str = "",
) -> Objective:
    """Register `loss(pairs, **settings) → [E]`, the mean over pairs of which is minimised.

    Soft labels (edge column `probability`) weigh the pair and its exchange, see `views.expected`.

    Args:
        loss: Takes `PairLogps`, or `PairSums` where no reference is read, and the settings by name.
        settings: Their type.
        summary: As in `Objective`, as are the others that are not explained here.
        formula: The loss with its reduction.
        source: Paper.
        facts: Declared properties.
        reference: Whether it reads the reference's log-probs.
        supervised: Whether it imitates the chosen response already.
        suggests: Recipe values.
        suggested_by: Where those come from.
    """
    name = loss.__name__
    view: Any = views.pairs if reference else views.pair_sums

    def losses(logps: Logps, batch: PackedBatch, chosen: Settings) -> Mapping[str, Tensor]:
        return {name: views.expected(view(logps, batch), partial(loss, **chosen.model_dump()))}

    def metrics(logps: Logps, batch: PackedBatch, chosen: Settings) -> Mapping[str, Metric]:
        if not reference:
            return likelihood_metrics(view(logps, batch))
        return pair_metrics(view(logps, batch), beta=getattr(chosen, "beta", 1.0))

    return Objective(
        summary=summary,
        formula=formula,
        source=source,
        data="pairs",
        settings=settings,
        terms=lambda chosen: {name: Term("edge")},
        losses=losses,
        metrics=metrics,
        needs=lambda chosen: Needs(reference=reference),
        suggests=suggests or {},
        suggested_by=suggested_by,
        supervised=supervised,
        facts=facts,
    )
