"""Shared-prefix attention on CPU in tiles: no score is computed that the mask would throw away.

A packed row needs three kinds of product: each prompt with itself, each response with itself (both causal), and all
responses of a group with their prompt (no mask at all). The last two meet in one softmax through their log-sum-exps,
so nothing is gathered behind a prompt and nothing is masked. Long sequences are tiles of their own, read in place;
short ones of similar length are stacked, which spares the cost of a call each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..batch.packed import Spans

_SHORT = 64
"""Sequences up to this many tokens are stacked with others; above it a call's fixed cost does not show."""
_SHORT_TOGETHER = 256
"""The same for all responses of a group together."""
_SHARE = 0.5
"""A stack's shortest sequence is at least this share of its longest."""

_FAR = 1e5
"""Beyond any attention score; as a pad's log-sum-exp it makes the pad's weights exactly 0."""

# What scaled_dot_product_attention runs on CPU. Called directly, because the public function keeps the log-sum-exp.
_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class Rows(Protocol):
    """Sequences of packed rows, read from tensors [T, H, …] and written to tensors [T + 1, H, …]; row T is scratch."""

    def take(self, x_TH: Tensor) -> Tensor:
        """Return the sequences as [n, H, L, …]; what pads hold is unspecified but finite."""

    def take_zero(self, x_TH: Tensor) -> Tensor:
        """As `take`, with pads 0."""

    def take_far(self, x_TH: Tensor) -> Tensor:
        """As `take`, with pads so large that the exponential of any score less them is 0."""

    def put(self, x_TH: Tensor, value: Tensor) -> None:
        """Write sequences [n, H, L, …]."""

    def add(self, x_TH: Tensor, value: Tensor) -> None:
        """Add sequences [n, H, L, …]."""


@dataclass(frozen=True)
class Run:
    """One sequence, in place."""

    rows: slice

    def take(self, x_TH: Tensor) -> Tensor:
        """See `Rows`."""
        return x_TH[self.rows].transpose(0, 1)[None]

    take_zero = take_far = take

    def put(self, x_TH: Tensor, value: Tensor) -> None:
        """See `Rows`."""
        x_TH[self.rows] = value[0].transpose(0, 1)

    def add(self, x_TH: Tensor, value: Tensor) -> None:
        """See `Rows`."""
        x_TH[self.rows] += value[0].transpose(0, 1)


@dataclass(frozen=True)
class Stack:
    """n sequences, padded to L rows each.

    Attributes:
        read: Rows to read, [n · L]; pads read row 0.
        write: Rows to write, [n · L]; pads write the scratch row.
        real: [n, 1, L, 1], 1 where no pad, float32.
    """

    read: Tensor
    write: Tensor
    real: Tensor

    @classmethod
    def of(cls, starts: Sequence[int], lengths: Sequence[int], scratch: int) -> Stack:
        """Stack the sequences that begin at `starts`."""
        offset_L = torch.arange(max(lengths))
        index_NL = torch.tensor(starts)[:, None] + offset_L
        real_NL = offset_L < torch.tensor(lengths)[:, None]
        return cls(
            read=torch.where(real_NL, index_NL, 0).flatten(),
            write=torch.where(real_NL, index_NL, scratch).flatten(),
            real=real_NL[:, None, :, None].float(),
        )

    def take(self, x_TH: Tensor) -> Tensor:
        """See `Rows`."""
        n, _, length, _ = self.real.shape
        return x_TH.index_select(0, self.read).view(n, length, *x_TH.shape[1:]).transpose(1, 2)

    def take_zero(self, x_TH: Tensor) -> Tensor:
        """See `Rows`."""
        return self.take(x_TH) * self.real.to(x_TH.dtype)

    def take_far(self, x_TH: Tensor) -> Tensor:
        """See `Rows`."""
        return self.take(x_TH).masked_fill(self.real == 0, _FAR)

    def put(self, x_TH: Tensor, value: Tensor) -> None:
        """See `Rows`."""
        x_TH.index_copy_(0, self.write, value.transpose(1, 2).flatten(0, 1))

    def add(self, x_TH: Tensor, value: Tensor) -> None:
        """See `Rows`."""
        x_TH.index_add_(0, self.write, value.transpose(1, 2).flatten(0, 1))


@dataclass(frozen=True)
class Tile:
    """Queries and the keys they see: a square below its diagonal, or all of a prompt."""

    queries: Rows
    keys: Rows
    causal: bool


@dataclass(frozen=True)
class Tiles:
    """The tiles of a batch: every token is a query of one `own` tile; responses of one `prompt` tile besides."""

    own: list[Tile]
    prompt: list[Tile]

    @classmethod
    def of(cls, spans: Spans, tokens: int) -> Tiles:
        """Lay out a batch of `tokens` packed tokens.

        A prompt with one response is a single sequence: there is nothing to share.
        """
        alone_G = torch.bincount(spans.group_S, minlength=len(spans.prompt_length_G)) == 1
        before_S = torch.where(alone_G[spans.group_S], spans.prompt_length_G[spans.group_S], 0)
        starts = spans.prompt_start_G.tolist() + (spans.response_start_S - before_S).tolist()
        lengths = (spans.prompt_length_G * ~alone_G).tolist() + (spans.response_length_S + before_S).tolist()
        own = [_rows(starts, lengths, members, tokens) for members in _similar(lengths, _SHORT)]
        after_G = (spans.prompt_start_G + spans.prompt_length_G).tolist()
        owned = torch.zeros_like(spans.prompt_length_G).index_add(0, spans.group_S, spans.response_length_S).tolist()
        prompt_starts, prompts = spans.prompt_start_G.tolist(), (spans.prompt_length_G * ~alone_G).tolist()
        crossed = [
            Tile(_rows(after_G, owned, members, tokens), _rows(prompt_starts, prompts, members, tokens), causal=False)
            for members in _same(prompts, owned)
        ]
        return cls([Tile(rows, rows, causal=True) for rows in own], crossed)


def _rows(starts: Sequence[int], lengths: Sequence[int], members: Sequence[int], scratch: int) -> Rows:
    if len(members) == 1:
        start, length = starts[members[0]], lengths[members[0]]
        return Run(slice(start, start + length))
    return Stack.of([starts[m] for m in members], [lengths[m] for m in members], scratch)


def _similar(lengths: Sequence[int], short: int) -> list[list[int]]:
    """Part sequences into stacks of similar length; long ones stay alone, empty ones are left out."""
    stacks: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[stacks[-1][0]] if stacks else 0
        if lengths[i] and longest <= short and lengths[i] >= _SHARE * longest and stacks:
            stacks[-1].append(i)
        elif lengths[i]:
            stacks.append([i])
    return stacks


def _same(prompts: Sequence[int], owned: Sequence[int]) -> list[list[int]]:
    """Part groups into stacks of equal prompt length and similar response length: keys then need no mask."""
    by_length: dict[int, list[int]] = {}
    for g, prompt in enumerate(prompts):
        by_length.setdefault(prompt, []).append(g)
    stacks = []
    for prompt, groups in by_length.items():
        if prompt:
            stacks += [
                [groups[i] for i in members] for members in _similar([owned[g] for g in groups], _SHORT_TOGETHER)
            ]
    return stacks


class _Tiled(torch.autograd.Function):
    """Attention over tiles. Parts of one softmax share its log-sum-exp, forward and backward.

    bfloat16 is computed in float32: the kernel's bfloat16 is no faster forward and up to 3 times slower backward.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, tiles: Tiles, scale: float) -> Tensor:
        saved = tuple(_tokens_first(x) for x in (query, key, value))
        q_TH, k_TH, v_TH = (_wide(x_TH) for x_TH in saved)
        tokens, heads, _ = q_TH.shape
        out_TH = _scratched(q_TH)
        total_TH = torch.empty(tokens + 1, heads, 1, dtype=q_TH.dtype)
        for tile in tiles.own:
            part, lse = _attend(tile, q_TH, k_TH, v_TH, scale)
            tile.queries.put(out_TH, part)
            tile.queries.put(total_TH, lse)
        for tile in tiles.prompt:
            part, lse = _attend(tile, q_TH, k_TH, v_TH, scale)
            own, own_lse = tile.queries.take(out_TH), tile.queries.take(total_TH)
            share = torch.sigmoid(lse - own_lse)  # of the softmax's mass that lies on the prompt
            tile.queries.put(out_TH, torch.lerp(own, part, share))
            tile.queries.put(total_TH, torch.logaddexp(own_lse, lse))
        out_TH = out_TH[:tokens].to(query.dtype)
        ctx.save_for_backward(*saved, out_TH, total_TH)
        ctx.tiles, ctx.scale = tiles, scale
        return out_TH.transpose(0, 1)[None]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q_TH, k_TH, v_TH, out_TH, total_TH = ctx.saved_tensors
        q_TH, k_TH, v_TH, out_TH, grad_TH = map(_wide, (q_TH, k_TH, v_TH, out_TH, _tokens_first(grad)))
        d_TH = [_scratched(q_TH) for _ in range(3)]
        for tile in (*ctx.tiles.own, *ctx.tiles.prompt):
            rows, keys = tile.queries, tile.keys
            parts = _backward(
                rows.take_zero(grad_TH),
                rows.take(q_TH),
                keys.take(k_TH),
                keys.take(v_TH),
                rows.take(out_TH),
                rows.take_far(total_TH).squeeze(3),  # a pad's query is a stranger's: its weights must not overflow
                0.0,
                tile.causal,
                scale=ctx.scale,
            )
            for sum_TH, part, where in zip(d_TH, parts, (rows, keys, keys), strict=True):
                # every token lies in one `own` tile, which comes first: there is nothing to add to yet
                (where.put if tile.causal else where.add)(sum_TH, part)
        return *(sum_TH[: len(q_TH)].to(grad.dtype).transpose(0, 1)[None] for sum_TH in d_TH), None, None


def _attend(tile: Tile, q_TH: Tensor, k_TH: Tensor, v_TH: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Return a tile's outputs [n, H, L, D] and log-sum-exps [n, H, L, 1]."""
    q, k, v = tile.queries.take(q_TH), tile.keys.take(k_TH), tile.keys.take(v_TH)
    part, lse = _forward(q, k, v, 0.0, tile.causal, scale=scale)
    return part, lse.unsqueeze(3)


def _tokens_first(x: Tensor) -> Tensor:
    """[1, H, T, D] → [T, H, D], contiguous; projections have this order already, so nothing is copied."""
    return x[0].transpose(0, 1).contiguous()


def _wide(x_TH: Tensor) -> Tensor:
    return x_TH if x_TH.dtype == torch.float64 else x_TH.float()


def _scratched(x_TH: Tensor) -> Tensor:
    """Make an unwritten tensor like x with one scratch row more."""
    return x_TH.new_empty(len(x_TH) + 1, *x_TH.shape[1:])


tiled: Callable[[Tensor, Tensor, Tensor, Tiles, float], Tensor] = _Tiled.apply
"""(query, key, value [1, H, T, D], tiles, scale) → outputs [1, H, T, D]."""
