"""One number to differentiate, for a loop of one's own: an objective's terms averaged over a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..batch.logps import Logps
from ..batch.packed import PackedBatch
from .base import Objective, Term


def loss(objective: Objective, logps: Logps, batch: PackedBatch, settings: Any = None) -> Tensor:
    """Average an objective over a batch that is a whole step, as `logratio train` does.

        loss = Σ_k c_k · Σ_i w_i ℓ_ki / Σ_i w_i

    A mixture-of-experts model's auxiliary loss is added. A batch of which nothing counts has loss 0.

        >>> from logratio import objectives, pack
        >>> simpo = objectives.load("simpo")
        >>> settings = simpo.settings(beta=2.5)
        >>> batch = pack(groups[:4])
        >>> objectives.loss(simpo, policy(batch, simpo.needs(settings)), batch, settings).shape
        torch.Size([])

    Args:
        objective: As `objectives.load` returns it.
        logps: What the policy answers to `batch` and the objective's needs.
        batch: The step; with the token column `reference` where the objective reads a reference, and with the
            objective's running values (`PackedBatch.with_state`) where it has some.
        settings: Of the objective's own type; default: its defaults.

    Returns:
        A scalar, to be differentiated.
    """
    settings = objective.settings() if settings is None else settings
    terms = objective.terms(settings)
    parts = []
    for name, values in objective.losses(logps, batch, settings).items():
        weights = item_weights(batch, terms[name]).to(values)
        total = weights.sum()
        parts.append(terms[name].coefficient * (weights * values).sum() / torch.where(total == 0, 1.0, total))
    mean = torch.stack(parts).sum()
    return mean if logps.auxiliary is None else mean + logps.auxiliary


def item_weights(batch: PackedBatch, term: Term) -> Tensor:
    """Return w of each item that a term counts, float32."""
    if term.unit == "edge":
        return batch.edge["weight"]
    if term.unit == "response":
        return batch.response[term.weight]
    if term.unit == "token":
        return batch.response[term.weight].index_select(0, batch.response_R)
    return torch.ones(len(batch.row_G), device=batch.row_G.device)
