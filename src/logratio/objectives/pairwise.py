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
    margin: Callable[..., Tensor] | None = None,
    pull: Callable[..., Tensor] | None = None,
    suggests: Mapping[str, Any] | None = None,
    suggested_by: str = "",
) -> Objective:
    """Register `loss(pairs, **settings) → [E]`, whose mean over pairs is minimised; `views.expected` has soft labels.

    Args:
        loss: Takes `PairLogps`, or `PairSums` where no reference is read, and the settings by name.
        settings: Their type.
        summary: As in `Objective`, as are the others that are not explained here.
        formula: The loss with its reduction.
        source: Paper.
        facts: Declared properties.
        reference: Whether it reads the reference's log-probs.
        supervised: Whether it imitates the chosen response already.
        margin: Takes what the loss takes and returns the margin it implies, [E]; None where it is β·h, or h without β.
        pull: The same for the weight of each pair's gradient, see `margin_metrics`; None where it is σ(−margin).
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
        pairs, values = view(logps, batch), chosen.model_dump()
        own, weight = (None if of is None else of(pairs, **values) for of in (margin, pull))
        return pair_metrics(pairs, beta=getattr(chosen, "beta", 1.0), margin=own, pull=weight)

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
