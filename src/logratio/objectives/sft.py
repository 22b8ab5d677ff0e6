"""Supervised fine-tuning: imitate the demonstrated response."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..batch.logps import Logps
from ..batch.packed import PackedBatch
from .base import Objective, Settings, Term
from .metrics import Metric


class SftSettings(Settings):
    """`sft` has no settings of its own."""


def sft(logp_R: Tensor) -> Tensor:
    """Negative log-likelihood of each scored token.

        ℓ_t = −log π(y_t | x, y_<t)

    The loop averages over all scored tokens of the step, so a long response weighs more than a short one and the value
    does not depend on how the step is divided into micro-batches.

    Args:
        logp_R: log-probabilities of R scored tokens, nats.

    Returns:
        Loss per token, [R], nats.
    """
    return -logp_R


def _losses(logps: Logps, batch: PackedBatch, settings: SftSettings) -> Mapping[str, Tensor]:
    return {"nll": sft(logps.policy_R)}


def _metrics(logps: Logps, batch: PackedBatch, settings: SftSettings) -> Mapping[str, Metric]:
    return {"nll_per_token": Metric(-logps.policy_R, "token")}


OBJECTIVE = Objective(
    summary="imitate demonstrations",
    formula="−log π(y_t|x,y_<t), mean over scored tokens of the step",
    source="maximum likelihood; token mean as in Ouyang et al. 2022 (arXiv:2203.02155)",
    data="demonstrations",
    settings=SftSettings,
    terms=lambda settings: {"nll": Term("token")},
    losses=_losses,
    metrics=_metrics,
    suggests={"train.lr": 1e-5},
    suggested_by="between Tülu 3 8B (5e-6) and Zephyr 7B (2e-5), as published",
    supervised=True,
)
