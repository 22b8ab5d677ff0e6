"""Shared-prefix attention on CPU in strips: consecutive queries, and the few stretches of keys that they see.

A packed row is cut into strips of similar size. A strip's keys are its group's prompt and the responses it touches;
small groups share one. Each strip is a handful of matrix products large enough to run near their peak, around one
softmax. What its mask throws away of them is less than smaller products would lose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..batch.packed import Spans
from .flex import Sight

_ROWS = 192
"""Queries of a strip, at most."""
_SCORES = 1 << 19
"""Scores of a strip in one head, about, at most: behind many keys it has fewer queries."""
_TOGETHER = 96
"""Groups that have no more tokens than this together share a strip."""
KEPT = 512
"""Keys up to which a strip's weights are kept for the backward pass; those of more are computed again."""


@dataclass(frozen=True)
class Strip:
    """Queries and the keys they see.

    Attributes:
        rows: The queries.
        stretches: The keys, in one or two stretches, of which the queries themselves are the end.
        hidden_QK: -inf where a query does not see a key, else 0; float32. Of the last keys only: all see those before.
    """

    rows: slice
    stretches: Sequence[slice]
    hidden_QK: Tensor

    def keys(self, x_HTD: Tensor) -> Tensor:
        """Return what belongs to the keys, [H, K, D]."""
        parts = [x_HTD[:, stretch] for stretch in self.stretches]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def add(self, sum_HTD: Tensor, value_HKD: Tensor) -> None:
        """Add what belongs to the keys; the strip's own rows, which none before it in the row has, are written."""
        at = 0
        for stretch in self.stretches:
            earlier = min(stretch.stop, self.rows.start) - stretch.start
            if earlier:
                sum_HTD[:, stretch.start : stretch.start + earlier] += value_HKD[:, at : at + earlier]
            at += earlier
        sum_HTD[:, self.rows] = value_HKD[:, at:]


def strips(spans: Spans, sight: Sight, window: int | None) -> list[Strip]:
    """Cut a packed row into strips, in the row's order."""
    found = []
    for rows, stretches, shared in _cut(spans):
        i_Q = torch.arange(rows.start, rows.stop)
        j_K = torch.cat([torch.arange(stretch.start, stretch.stop) for stretch in stretches])
        j_K = j_K[shared if window is None else 0 :]
        sees_QK = sight(i_Q[:, None], j_K[None, :], window)
        if window is not None:
            out_of_it = int(sees_QK.any(0).int().argmax())
            sees_QK, stretches = sees_QK[:, out_of_it:], _without(stretches, out_of_it)
        found.append(Strip(rows, stretches, torch.zeros(sees_QK.shape).masked_fill_(~sees_QK, -torch.inf)))
    return found


def _without(stretches: Sequence[slice], first: int) -> list[slice]:
    """Return stretches less their first keys."""
    left = []
    for stretch in stretches:
        length = stretch.stop - stretch.start
        if first < length:
            left.append(slice(stretch.start + first, stretch.stop))
        first = max(0, first - length)
    return left


@dataclass(frozen=True)
class _Place:
    """Where a group lies: its prompt's first token and end, the first token of each response, in order, and its end."""

    start: int
    prompt: int
    responses: Sequence[int]
    stop: int

    def shared(self, rows: slice) -> int:
        """Return how many keys come before consecutive rows and are seen by all of them."""
        before: int = min(rows.start, self.prompt) - self.start
        if not any(rows.start < start < rows.stop for start in self.responses):
            before = sum(stretch.stop - stretch.start for stretch in self.keys(rows)) - (rows.stop - rows.start)
        return before

    def keys(self, rows: slice) -> list[slice]:
        """Return the stretches of what consecutive rows see of their group."""
        begun = [start for start in self.responses if start <= rows.start]
        if len(begun) < 2 or self.prompt == self.start:  # the first response follows its prompt
            return [slice(begun[-1] if len(begun) > 1 else self.start, rows.stop)]
        return [slice(self.start, self.prompt), slice(begun[-1], rows.stop)]


def _cut(spans: Spans) -> Iterator[tuple[slice, list[slice], int]]:
    """Yield each strip's queries, its stretches of keys, and how many of these come first and are seen by all."""
    for places in _together(_places(spans)):
        start, stop = places[0].start, places[-1].stop
        if len(places) > 1:
            yield slice(start, stop), [slice(start, stop)], 0
            continue
        parts = -(-(stop - start) // min(_ROWS, max(1, _SCORES // max(1, stop - start))))
        for n in range(parts):
            rows = slice(start + (stop - start) * n // parts, start + (stop - start) * (n + 1) // parts)
            yield rows, places[0].keys(rows), places[0].shared(rows)


def _together(places: Sequence[_Place]) -> Iterator[list[_Place]]:
    """Yield groups that share a strip, or one that may be cut."""
    held: list[_Place] = []
    for place in places:
        if held and place.stop - held[0].start > _TOGETHER:
            yield held
            held = []
        held.append(place)
    yield held


def _places(spans: Spans) -> list[_Place]:
    starts: list[list[int]] = [[] for _ in spans.prompt_start_G]
    for group, start in zip(spans.group_S.tolist(), spans.response_start_S.tolist(), strict=True):
        starts[group].append(start)
    prompt_end_G = spans.prompt_start_G + spans.prompt_length_G
    end_G = prompt_end_G.index_add(0, spans.group_S, spans.response_length_S)
    ends = zip(spans.prompt_start_G.tolist(), prompt_end_G.tolist(), starts, end_G.tolist(), strict=True)
    return [_Place(*own) for own in ends]


class _Strips(torch.autograd.Function):
    """Attention over strips. Of narrow inputs, scores and softmax are float32 and the weights as narrow as they."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, parts: Sequence[Strip], scale: float) -> Tensor:
        q_HTD, k_HTD, v_HTD = query[0], key[0], value[0]
        scores, kept = _Scores(q_HTD, k_HTD, scale), []
        widest = KEPT if any(ctx.needs_input_grad) else 0
        out_HTD = _tokens_first(v_HTD, v_HTD.dtype)
        for strip in parts:
            weights_HQK = scores.weights(strip)
            out_HTD[:, strip.rows] = torch.bmm(weights_HQK, strip.keys(v_HTD))
            kept.append(weights_HQK if weights_HQK.shape[2] <= widest else None)
        ctx.save_for_backward(q_HTD, k_HTD, v_HTD, *kept)
        ctx.parts, ctx.scale = parts, scale
        return out_HTD[None]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q_HTD, k_HTD, v_HTD, *kept = ctx.saved_tensors
        scores, grad_HTD = _Scores(q_HTD, k_HTD, ctx.scale), grad[0]
        dq_HTD = _tokens_first(q_HTD, q_HTD.dtype)
        dk_HTD, dv_HTD = (_tokens_first(x_HTD, _wide(x_HTD.dtype)) for x_HTD in (k_HTD, v_HTD))
        for strip, weights_HQK in zip(ctx.parts, kept, strict=True):
            if weights_HQK is None:
                weights_HQK = scores.weights(strip)
            grad_HQD = grad_HTD[:, strip.rows]
            strip.add(dv_HTD, torch.bmm(weights_HQK.transpose(1, 2), grad_HQD))
            d_HQK = torch.bmm(grad_HQD, strip.keys(v_HTD).transpose(1, 2))
            d_HQK = torch._softmax_backward_data(d_HQK, weights_HQK, -1, d_HQK.dtype)
            dq_HTD[:, strip.rows] = torch.bmm(d_HQK, strip.keys(k_HTD))
            strip.add(dk_HTD, torch.bmm(d_HQK.transpose(1, 2), q_HTD[:, strip.rows]))
        dq_HTD.mul_(ctx.scale)
        dk_HTD.mul_(ctx.scale)
        return *(d_HTD.to(q_HTD.dtype)[None] for d_HTD in (dq_HTD, dk_HTD, dv_HTD)), None, None


@dataclass(frozen=True)
class _Scores:
    """What the scores scale · q kᵀ are made of."""

    q_HTD: Tensor
    k_HTD: Tensor
    scale: float

    @cached_property
    def _factors(self) -> tuple[Tensor, Tensor]:
        dtype = _wide(self.q_HTD.dtype)
        return self.q_HTD.to(dtype) * self.scale, self.k_HTD.to(dtype)

    def weights(self, strip: Strip) -> Tensor:
        """Return a strip's softmax, [H, Q, K]."""
        q_HTD, k_HTD = self._factors
        scores_HQK = torch.bmm(q_HTD[:, strip.rows], strip.keys(k_HTD).transpose(1, 2))
        scores_HQK[:, :, -strip.hidden_QK.shape[1] :] += strip.hidden_QK
        return torch.softmax(scores_HQK, -1).to(self.q_HTD.dtype)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _tokens_first(x_HTD: Tensor, dtype: torch.dtype) -> Tensor:
    """Make an unwritten [H, T, D] that lies in memory as projections do, [T, H, D]."""
    heads, tokens, width = x_HTD.shape
    return x_HTD.new_empty(tokens, heads, width, dtype=dtype).transpose(0, 1)


in_strips: Callable[[Tensor, Tensor, Tensor, Sequence[Strip], float], Tensor] = _Strips.apply
"""(query, key, value [1, H, T, D], strips, scale) → outputs [1, H, T, D]."""
