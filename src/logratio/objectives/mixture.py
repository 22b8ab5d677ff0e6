"""A supervised term beside a loss: `objective.sft_weight` of the preferred responses, `texts.weight` of other texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from pydantic import Field, create_model
from torch import Tensor

from ..batch.logps import Logps
from ..batch.packed import PackedBatch, sent
from . import views
from .base import Objective, Settings, Term
from .metrics import Metric

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


def with_texts(objective: Objective, weight: float) -> Objective:
    """Return an objective of fresh responses with one more term: the likelihood of texts that are mixed into the step.

        loss = own loss + γ · Σ w·−log π(x_t|x_<t) / Σ w,   over the tokens of the step's texts

    Ouyang et al. 2022 (arXiv:2203.02155), Eq. 2, PPO-ptx. A text is a response with its weight in the column `text` and
    weight 0 beside; those of the step's own have 0 in `text`. The objective sees a text's tokens as certain, log π = 0,
    so that no ratio and no KL comes of them.

    Args:
        objective: Learns from responses that are drawn.
        weight: γ > 0.
    """

    def losses(logps: Logps, batch: PackedBatch, settings: Any) -> Mapping[str, Tensor]:
        return {**objective.losses(_unread(logps, batch), batch, settings), "texts": -logps.policy_R}

    def metrics(logps: Logps, batch: PackedBatch, settings: Any) -> Mapping[str, Metric]:
        own = objective.metrics(_unread(logps, batch), batch, settings)
        text_R = batch.response["text"].index_select(0, batch.response_R)
        counted = {name: _of_drawn(metric, batch) for name, metric in own.items()}
        return {**counted, "text_nll": Metric(-logps.policy_R, "token", text_R)}

    return replace(
        objective,
        formula=f"{objective.formula}; + {weight:g}·(−log π of texts, mean over their tokens)",
        terms=lambda settings: {**objective.terms(settings), "texts": Term("token", weight, "text")},
        losses=losses,
        metrics=metrics,
    )


def _unread(logps: Logps, batch: PackedBatch) -> Logps:
    text_R = batch.response["text"].index_select(0, batch.response_R) > 0
    return replace(logps, policy_R=logps.policy_R.masked_fill(text_R, 0.0))


def _of_drawn(metric: Metric, batch: PackedBatch) -> Metric:
    """Leave the groups of texts out of a metric of groups; of tokens and responses weight 0 does."""
    if metric.unit != "group" or metric.weight is not None:
        return metric
    text_S = batch.response["text"]
    text_G = torch.zeros(len(batch.row_G), dtype=text_S.dtype, device=text_S.device)
    text_G = text_G.index_add(0, sent(batch.spans.group_S, text_S.device), text_S)
    return replace(metric, weight=(text_G == 0).to(text_S))


def _imitation(logps: Logps, batch: PackedBatch) -> Tensor:
    return -views.pair_sums(logps, batch).chosen_mean.masked_fill(views.ties(batch), 0.0)


def _extended(own: type[Settings]) -> type[Settings]:
    return create_model(
        own.__name__,
        __base__=own,
        __module__=own.__module__,
        sft_weight=(float, Field(0.0, ge=0, description="weight of −log π(y⁺|x)/|y⁺|, mean over pairs, in the loss")),
    )
