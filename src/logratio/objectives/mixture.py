"""A supervised term beside any preference loss: `objective.sft_weight`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import Field, create_model
from torch import Tensor

from ..batch.logps import Logps
from ..batch.packed import PackedBatch
from . import views
from .base import Objective, Settings, Term

NAME = "sft_weight"


def could_imitate(objective: Objective) -> bool:
    """Whether a supervised term would add something: pairs, no such term yet, and a head that predicts tokens."""
    predicts = objective.needs(objective.settings()).head == "lm"
    return objective.data == "pairs" and not objective.supervised and predicts


def with_sft(objective: Objective) -> Objective:
    """Return a pairwise objective with one more setting, `sft_weight`, and where that is above 0 one more term.

        loss = own loss + w · mean over pairs of −log π(y⁺|x)/|y⁺|,   0 for ties, which have no y⁺

    The negative log-likelihood is a mean over each chosen response's tokens, then over pairs (Pang et al. 2024,
    arXiv:2404.19733, Eq. 1: α = w = 1 beside DPO). An average over all tokens of the step, which some implementations
    take, would weigh long responses more.

    Args:
        objective: Learns from pairs, and has no supervised term of its own.
    """
    own = objective.settings

    def split(settings: Any) -> tuple[Settings, float]:
        values = settings.model_dump()
        weight = float(values.pop(NAME))
        return own(**values), weight

    def terms(settings: Any) -> Mapping[str, Term]:
        plain, weight = split(settings)
        return {**objective.terms(plain), **({"sft": Term("edge", weight)} if weight else {})}

    def losses(logps: Logps, batch: PackedBatch, settings: Any) -> Mapping[str, Tensor]:
        plain, weight = split(settings)
        own_losses = objective.losses(logps, batch, plain)
        return {**own_losses, "sft": _imitation(logps, batch)} if weight else own_losses

    return replace(
        objective,
        settings=_extended(own),
        terms=terms,
        losses=losses,
        metrics=lambda logps, batch, settings: objective.metrics(logps, batch, split(settings)[0]),
        needs=lambda settings: objective.needs(split(settings)[0]),
        state=lambda settings: objective.state(split(settings)[0]),
        update=lambda logps, batch, settings: objective.update(logps, batch, split(settings)[0]),
        label=lambda groups, settings, state: objective.label(groups, split(settings)[0], state),
    )


def _imitation(logps: Logps, batch: PackedBatch) -> Tensor:
    return -views.pair_sums(logps, batch).chosen_mean.masked_fill(views.ties(batch), 0.0)


def _extended(own: type[Settings]) -> type[Settings]:
    return create_model(
        own.__name__,
        __base__=own,
        __module__=own.__module__,
        sft_weight=(float, Field(0.0, ge=0, description="weight of −log π(y⁺|x)/|y⁺|, mean over pairs, in the loss")),
    )
