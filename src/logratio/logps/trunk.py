"""A model's body as both paths run it: its attention, its fused modules, its hidden states."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..batch.packed import PackedBatch
from ..models import anatomy
from . import attention
from .attention import Layout
from .fused import fusions


class Trunk:
    """Switches a model between the paths, and runs its body on a packed row.

    Args:
        model: The transformers (or PEFT) model.
    """

    def __init__(self, model: nn.Module) -> None:
        anatomy.register_attention(attention.NAME, attention.attend)
        self.model = model
        self._original = anatomy.own_attention(model)
        self._fusions = fusions(model)

    def take(self, *, shared: bool) -> None:
        """Attend as the packed layout wants, or as the model itself does."""
        anatomy.set_attention(self.model, attention.NAME if shared else self._original)
        for fusion in self._fusions:
            fusion.set(shared)

    def run(self, batch: PackedBatch, **extra: Any) -> Any:
        """Run the body on the packed row."""
        return anatomy.body(self.model)(
            input_ids=batch.tokens_T[None],
            position_ids=batch.positions_T[None],
            attention_mask=anatomy.no_mask(batch.tokens_T.device),
            use_cache=False,
            packed=Layout.of(batch),
            **extra,
        )


def padded_hidden(model: nn.Module, ids_SL: Tensor, length_S: Tensor) -> Tensor:
    """Return the body's hidden states of right-padded rows, [S, L, D], masked by length."""
    column_L = torch.arange(ids_SL.shape[1], device=ids_SL.device)
    body = anatomy.body(model)
    arguments = {"input_ids": ids_SL, "attention_mask": (column_L < length_S[:, None]).long(), "use_cache": False}
    if anatomy.accepts(body, "position_ids"):
        arguments["position_ids"] = column_L.expand_as(ids_SL)
    states: Tensor = body(**arguments).last_hidden_state
    return states


@contextmanager
def overheard(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the hidden states that the body hands to the model's own head while the context lasts."""
    heard: list[Tensor] = []
    handle = anatomy.body(model).register_forward_hook(lambda module, given, output: heard.append(output[0]))
    try:
        yield heard
    finally:
        handle.remove()
