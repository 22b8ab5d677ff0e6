"""Shared-prefix attention: a prompt is encoded once, and each of its responses sees the prompt and itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask

from ..batch.packed import PackedBatch, Spans, sent
from ..errors import ModelError
from .flex import SINKS, Sight, flex
from .strips import Strip, in_strips, strips

NAME = "logratio_shared"
"""Name under which transformers knows `attend`."""

_BLOCKS_ON = "cuda"
"""Kind of device on which attention goes over blocks; the tests put the CPU in its place."""


@dataclass(frozen=True)
class Layout:
    """Who sees whom in a packed row. It travels as the keyword argument `packed` of the model call.

    Attributes:
        length_G: Tokens of each group, prompt and responses; what the row is padded with comes last, if anything.
        sight: The rule, token by token, on the batch's device.
        longest: Tokens of the longest sequence, a prompt with one response.
        spans: Where prompts and responses lie.
    """

    length_G: list[int]
    sight: Sight
    longest: int
    spans: Spans
    _masks: dict[int | None, list[Tensor]] = field(default_factory=dict)
    _blocks: dict[int | None, BlockMask] = field(default_factory=dict)
    _strips: dict[int | None, list[Strip]] = field(default_factory=dict)

    @classmethod
    def of(cls, batch: PackedBatch) -> Layout:
        """Derive the layout of a batch, on the batch's device."""
        spans, groups = batch.spans, len(batch.spans.prompt_start_G)
        owned_G = torch.zeros_like(spans.prompt_length_G).index_add(0, spans.group_S, spans.response_length_S)
        length_G = (spans.prompt_length_G + owned_G).tolist()
        pads = len(batch.tokens_T) - sum(length_G)
        start = torch.cat((spans.prompt_start_G, spans.response_start_S))
        length = torch.cat((spans.prompt_length_G, spans.response_length_S))
        prompt = torch.cat((torch.arange(groups), spans.group_S))
        order = start.argsort()  # an empty prompt shares its start with a response, and repeats 0 times
        alone = torch.arange(-pads, 0)  # a pad sees itself, so that no row of scores is empty
        segment_T, prompt_T = (
            sent(torch.cat((own[order].repeat_interleave(length[order]), alone)), batch.tokens_T.device)
            for own in (torch.arange(len(start)), prompt)
        )
        return cls(
            length_G=length_G + [pads] * (pads > 0),
            sight=Sight(batch.positions_T, segment_T, prompt_T),
            longest=int((spans.prompt_length_G.index_select(0, spans.group_S) + spans.response_length_S).max()),
            spans=spans,
        )

    def strips(self, window: int | None) -> list[Strip]:
        """Return the row in strips, for the CPU; of a row without pads. Made once per window."""
        if window not in self._strips:
            self._strips[window] = strips(self.spans, self.sight, window)
        return self._strips[window]

    def masks(self, window: int | None) -> list[Tensor]:
        """Return, per group, the boolean mask [n, n]: query i sees key j. Made once per window."""
        if window not in self._masks:
            self._masks[window] = [sight.dense(window) for sight in self.sight.split(self.length_G)]
        return self._masks[window]

    def blocks(self, window: int | None) -> BlockMask:
        """Return the blocks of the row that hold a visible pair. Made once per window."""
        if window not in self._blocks:
            self._blocks[window] = self.sight.blocks(window)
        return self._blocks[window]


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    packed: Layout | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention function in transformers' form: [1, H, T, D] queries to [1, T, H, D] outputs.

    Equals, token by token, causal attention over each response laid out behind its own prompt.

    Args:
        module: The attention layer; read for nothing but causality without a layout.
        query: [1, H, T, D].
        key: [1, Hk, T, D], Hk dividing H.
        value: [1, Hk, T, D].
        attention_mask: Used without a layout only (generation, the model's own forward).
        scaling: Multiplies the scores; default 1/√D.
        dropout: Must be 0: a shared prompt assumes a deterministic forward.
        packed: The layout, or None for an ordinary padded batch.
        sliding_window: Keys further back than this many positions are not seen.
        softcap: c of c·tanh(score/c), or None.
        s_aux: One sink logit per head, [H], or None.
    """
    if dropout:
        raise ValueError(f"attention dropout is {dropout}; shared prompts need 0")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if packed is None:
        seen = _ordinary_mask(module, query, key, attention_mask)
        return _masked(query, key, value, seen, scale, softcap, s_aux).transpose(1, 2), None
    window = _window(module, sliding_window)
    if window is not None and window >= packed.longest:
        window = None
    if query.device.type == _BLOCKS_ON and (SINKS or s_aux is None):
        output = flex(query, key, value, packed.blocks(window), scale, softcap, s_aux)
        return output.transpose(1, 2), None
    if query.device.type == "cpu" and softcap is None and s_aux is None:
        key, value = _per_head(query, key), _per_head(query, value)
        return in_strips(query, key, value, packed.strips(window), scale).transpose(1, 2), None
    pieces = (tensor.split(packed.length_G, dim=2) for tensor in (query, key, value))
    outputs = [
        _masked(q, k, v, seen, scale, softcap, s_aux)
        for q, k, v, seen in zip(*pieces, packed.masks(window), strict=True)
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def _window(module: nn.Module, given: int | None) -> int | None:
    """Return a layer's sliding window: as passed, else off the layer, else off a config whose layers are all alike."""
    if given is not None:
        return given
    own: int | None = getattr(module, "sliding_window", None)
    config = getattr(module, "config", None)
    if own is None and not getattr(config, "layer_types", None):
        return getattr(config, "sliding_window", None)
    return own


def _per_head(query: Tensor, key: Tensor) -> Tensor:
    """Repeat grouped keys or values, so that each query head has its own."""
    repeats = query.shape[1] // key.shape[1]
    return key if repeats == 1 else key.repeat_interleave(repeats, dim=1)


def _ordinary_mask(module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor | None:
    """Return the mask of a call without a layout: the given one, or causal where transformers left it out."""
    if mask is not None and mask.shape == (1, 1, 1, 1) and query.shape[2] > 1:
        raise ModelError(f"{type(module).__name__} is not handed the layout of shared prompts; use path: plain.")
    if mask is not None or query.shape[2] == 1 or not getattr(module, "is_causal", True):
        return mask
    return torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()


def _masked(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    seen: Tensor | None,
    scale: float,
    softcap: float | None,
    sink_H: Tensor | None,
) -> Tensor:
    """Attention under a mask: library kernel, or an explicit softmax where it has no softcap or sinks."""
    if softcap is None and sink_H is None:
        return nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=seen, scale=scale, enable_gqa=query.shape[1] != key.shape[1]
        )
    key, value = _per_head(query, key), _per_head(query, value)
    scores = query @ key.transpose(2, 3) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if seen is not None:
        scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min) if seen.dtype == torch.bool else scores + seen
    if sink_H is not None:
        sink = sink_H[None, :, None, None].expand(*scores.shape[:3], 1).to(scores.dtype)
        scores = torch.cat((scores, sink), dim=-1)
    wide = torch.float64 if scores.dtype == torch.float64 else torch.float32
    weights = torch.softmax(scores, dim=-1, dtype=wide)[..., : key.shape[2]]
    return weights.to(value.dtype) @ value
