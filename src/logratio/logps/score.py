"""Hidden states → one number for each response: a reward model's scalar head at the response's last token."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..batch.packed import PackedBatch
from ..models import anatomy
from .head import wide
from .plain import rows
from .trunk import padded_hidden


def score(model: nn.Module, h_SD: Tensor) -> Tensor:
    """Apply the scalar head, r = w·h (+ b), [S], in float32 (float64 where h is).

    Args:
        model: A reward model.
        h_SD: Hidden state at the last token of each response, [S, D].
    """
    weight_1D, bias_1 = anatomy.score_parts(model)
    dtype = wide(h_SD.dtype)
    return linear(h_SD.to(dtype), weight_1D.to(dtype), None if bias_1 is None else bias_1.to(dtype)).squeeze(1)


def at_ends(batch: PackedBatch) -> Tensor:
    """Return where in the packed row each response ends, [S]: by its length, whatever its last token is."""
    spans = batch.spans
    return (spans.response_start_S + spans.response_length_S - 1).to(batch.tokens_T.device)


def plain_scores(model: nn.Module, batch: PackedBatch) -> Tensor:
    """Score a batch's responses the readable way: one response per row, right-padded, masked by length.

    Args:
        model: A reward model.
        batch: Groups.
    """
    ids_SL, length_S = rows(batch)
    h_SLD = padded_hidden(model, ids_SL, length_S)
    row_S = torch.arange(len(length_S), device=ids_SL.device)
    return score(model, h_SLD.flatten(0, 1).index_select(0, row_S * ids_SL.shape[1] + length_S - 1))
