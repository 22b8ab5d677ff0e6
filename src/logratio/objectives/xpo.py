"""XPO: online DPO that is optimistic about what the reference writes and the policy does not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pydantic import Field
from torch import Tensor

from ..batch.group import Group
from ..batch.logps import Logps
from ..batch.needs import Needs
from ..batch.packed import PackedBatch
from . import labelling, onpolicy, views
from .base import Labelled, Objective, Settings, Term
from .dpo import dpo
from .facts import Facts
from .metrics import Metric, pair_metrics


class XpoSettings(Settings):
    """Settings of `xpo`."""

    beta: float = Field(0.1, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")
    alpha: float = Field(1e-5, ge=0, description="α, weight of the optimism; 0: DPO on these pairs")


def xpo(rival_E: Tensor) -> Tensor:
    """Optimism: the log-prob of what the reference wrote, minimised beside DPO's loss.

        loss = mean over pairs of −log σ(β·Δ[log π/π_ref]) + α·log π(ỹ|x),   one side of a pair from π, ỹ from π_ref

    Xie et al. 2024 (arXiv:2405.21046), Algorithm 1, on the pairs of the present phase alone; the paper keeps those of
    all phases. α = 0 is DPO on these pairs.

    Args:
        rival_E: log π(ỹ|x) of the reference's response of each pair, [E], nats.

    Returns:
        Loss per edge, [E], to be weighed by α.
    """
    return rival_E


def label(groups: Sequence[Group], settings: XpoSettings, state: Mapping[str, float]) -> Labelled:
    """Keep the pairs of a response of the policy and one of the reference; the others get weight 0."""
    return [_label(group) for group in groups], {}


def _label(group: Group) -> Group:
    rival_K = labelling.rivals(group)
    weight_C = group.columns.edge["weight"]
    across_C = rival_K[group.edges[:, 0]] != rival_K[group.edges[:, 1]]
    return group.with_columns(edge={"weight": (weight_C * across_C).astype(weight_C.dtype)})


def _rival_logps(policy_S: Tensor, batch: PackedBatch) -> Tensor:
    """Return log π(ỹ|x) for each pair, whichever side won."""
    rival_S = batch.response["rival"].to(policy_S)
    won, lost = batch.winner_E, batch.loser_E
    parts = [rival_S.index_select(0, side) * policy_S.index_select(0, side) for side in (won, lost)]
    return parts[0] + parts[1]


def _losses(logps: Logps, batch: PackedBatch, settings: XpoSettings) -> Mapping[str, Tensor]:
    pairs = views.pairs(logps, batch)
    optimism_E = xpo(_rival_logps(batch.sum_by_response(logps.policy_R), batch))
    return {"dpo": dpo(pairs, beta=settings.beta), "optimism": optimism_E}


def _metrics(logps: Logps, batch: PackedBatch, settings: XpoSettings) -> Mapping[str, Metric]:
    weight_E = batch.edge["weight"]
    of_pairs = pair_metrics(views.pairs(logps, batch), beta=settings.beta)
    kept = {
        name: Metric(own.value, own.unit, weight_E * (1.0 if own.weight is None else own.weight))
        for name, own in of_pairs.items()
    }
    return {**onpolicy.phase_metrics(logps, batch), **kept}


def _at_reference(batch: PackedBatch, settings: XpoSettings) -> Mapping[str, Tensor | float]:
    reference_S = batch.sum_by_response(batch.token["reference"].double())
    return {"dpo": math.log(2), "optimism": _rival_logps(reference_S, batch)}


OBJECTIVE = Objective(
    summary="online DPO that is optimistic about what the policy does not write",
    formula="−log σ(β·Δ[log π/π_ref]) + α·log π(ỹ), pairs of a response of π and one, ỹ, of π_ref, mean over pairs",
    source="Xie et al. 2024 (arXiv:2405.21046), Algorithm 1",
    data="prompts",
    settings=XpoSettings,
    terms=lambda settings: {"dpo": Term("edge"), "optimism": Term("edge", settings.alpha)},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=True),
    label=label,
    rivals=lambda settings: 1.0,
    suggests={"train.lr": 5e-7, "train.batch_size": 128},
    suggested_by="Guo et al. 2024 (arXiv:2402.04792), whose online DPO it extends",
    facts=Facts(at_reference=_at_reference, invariant=frozenset({"reference"}), population=False),
)
