"""Attention of one pass that encodes new prompts and adds one token to every sample at work, in one packed row.

A sample's token sees its prompt and itself. Where the prompt's keys and values are apart, each part is attended to on
its own and the two are merged by their log-sum-exps, so that a prompt is read once for all its samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import ModelError
from .cache import Block, Pair, Prompt, Rows, pads_masked

NAME = "logratio_rollout"
"""Name under which transformers knows `attend`."""

# What scaled_dot_product_attention runs on CPU. Called directly, because the public function keeps the log-sum-exp.
_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default


@dataclass(frozen=True)
class Reading:
    """Which rows read which blocks of prompts. A block's rows are queries of one product, as many for each prompt.

    Attributes:
        rows: Rows whose prompt lies in a block, in the order of `live`; None where these are all, in their order.
        slots: Row of each query, block by block and prompt by prompt, repeated where a prompt has fewer samples than
            its neighbours; None where it is `rows`, each once.
        live: Which of the slots are no such repetition; None where all are.
        blocks: Each block with its prompts and the slots of each of them.
    """

    rows: Tensor | None
    slots: Tensor | None
    live: Tensor | None
    blocks: list[tuple[Block, int, int]]

    @classmethod
    def of(cls, owners: Sequence[Prompt]) -> Reading | None:
        """Lay out for rows of these prompts, and let go of what no row reads; None where no prompt is in a block."""
        readers: dict[int, tuple[Block, dict[int, list[int]]]] = {}
        for row, prompt in enumerate(owners):
            if prompt.block is not None:
                places = readers.setdefault(id(prompt.block), (prompt.block, {}))[1]
                places.setdefault(prompt.place, []).append(row)
        if not readers:
            return None
        slots: list[int] = []
        live: list[int] = []
        blocks = []
        for block, places in readers.values():
            if 2 * len(places) <= len(block.lengths):
                places = _moved(block, places, owners)
            most = max(map(len, places.values()))
            for place in range(len(block.lengths)):
                own = places.get(place, [])
                live += range(len(slots), len(slots) + len(own))
                slots += own + [0] * (most - len(own))
            blocks.append((block, len(block.lengths), most))
        rows = [slots[i] for i in live]
        whole = len(live) == len(slots)
        plain = rows == list(range(len(owners)))
        return cls(
            rows=None if plain else torch.tensor(rows),
            slots=None if whole and plain else torch.tensor(slots),
            live=None if whole else torch.tensor(live),
            blocks=blocks,
        )


def _moved(block: Block, places: dict[int, list[int]], owners: Sequence[Prompt]) -> dict[int, list[int]]:
    """Keep only a block's prompts that are read, and tell them their new places."""
    kept = sorted(places)
    block.keep(kept)
    for new, old in enumerate(kept):
        owners[places[old][0]].place = new
    return {new: places[old] for new, old in enumerate(kept)}


@dataclass(frozen=True)
class Pass:
    """Who sees whom in one forward. It travels as the keyword argument `rollout` of the model call.

    Attributes:
        prompts: Prompts encoded in this pass; they come first in the packed row.
        rows: The samples' own keys and values.
        decoding: Rows that are fed one token each, the first ones of `rows`.
        last: The furthest place at which one of them writes.
        column: Where each writes, [decoding]; None where all write at `last`.
        mask_R11L: What is added to the scores of own keys; None where all rows hold equally many.
        reading: Which of them read blocks of prompts; None where none does.
        reach: Tokens that a prompt and its sample may come to.
    """

    prompts: Sequence[Prompt]
    rows: Rows
    decoding: int
    last: int
    column: tuple[Tensor, slice, Tensor] | None
    mask_R11L: Tensor | None
    reading: Reading | None
    reach: int

    @classmethod
    def of(
        cls,
        prompts: Sequence[Prompt],
        rows: Rows,
        decoding: int,
        reading: Reading | None,
        reach: int,
        dtype: torch.dtype,
    ) -> Pass:
        """Lay out a pass in which the first `decoding` rows are fed a token each."""
        rows.make_room()
        held = rows.held[:decoding]
        last = int(held.max(initial=0))
        mask = pads_masked(held + 1, last + 1, dtype) if decoding else None
        column = None if mask is None else (torch.arange(decoding), slice(None), torch.from_numpy(held))
        return cls(prompts, rows, decoding, last, column, mask, reading, reach)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    rollout: Pass | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention function in transformers' form: [1, H, N, D] queries to [1, N, H, D] outputs.

    Args:
        module: The attention layer; read for its index only.
        query: [1, H, N, D], the tokens of the pass's prompts and then one of each row that decodes.
        key: [1, Hk, N, D], Hk dividing H.
        value: [1, Hk, N, D].
        attention_mask: Not read; the pass says who sees whom.
        rollout: The pass.
        scaling: Multiplies the scores; default 1/√D.
        sliding_window: Must reach over prompt and sample.
        softcap: Must be None.
        s_aux: Must be None.

    Raises:
        ModelError: The layer wants what is not done here, or is not handed the pass.
    """
    if rollout is None:
        raise ModelError(f"{type(module).__name__} is not handed the layout of the samples")
    if softcap is not None or s_aux is not None or (sliding_window or rollout.reach) < rollout.reach:
        raise ModelError(f"{type(module).__name__} attends through a window, a softcap or sinks")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    index = cast(int, module.layer_idx)
    own = rollout.rows.layer(index, key)
    if not rollout.prompts:
        return _decode(rollout, query, key, value, index, own, scale), None
    q_NH, k_NH, v_NH = query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1)
    parts, start = [], 0
    for length, equal in groupby(rollout.prompts, lambda prompt: prompt.length):
        prompts = list(equal)
        stop = start + len(prompts) * length
        parts.append(_encode(prompts, q_NH[start:stop], k_NH[start:stop], v_NH[start:stop], index, own, scale))
        start = stop
    if rollout.decoding:
        last = query[:, :, start:], key[:, :, start:], value[:, :, start:]
        parts.append(_decode(rollout, *last, index, own, scale)[0])
    return torch.cat(parts)[None], None


def _encode(
    prompts: list[Prompt], q_NH: Tensor, k_NH: Tensor, v_NH: Tensor, index: int, own: Pair, scale: float
) -> Tensor:
    """Attend within prompts of equal length, laid end to end, and keep their keys and values; [n·L, H, D]."""
    q, k, v = (x.unflatten(0, (len(prompts), -1)).transpose(1, 2) for x in (q_NH, k_NH, v_NH))
    for i, prompt in enumerate(prompts):
        prompt.write(index, k[i], v[i], own)
    repeats = q.shape[1] // k.shape[1]
    if repeats > 1:
        k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
    out: Tensor = _flash(q, k, v, 0.0, True, scale=scale)[0]
    return out.transpose(1, 2).flatten(0, 1)


def _decode(rollout: Pass, query: Tensor, key: Tensor, value: Tensor, index: int, own: Pair, scale: float) -> Tensor:
    """Attend from one new token a row to its own tokens and its prompt; [1, H, R, D] to [1, R, H, D].

    Few operations matter more than fast ones here: with a small model and few rows each costs as much as a product.
    """
    rows, last = rollout.decoding, rollout.last
    keys, values = own[0][:rows, :, : last + 1], own[1][:rows, :, : last + 1]
    q, new_key, new_value = query.transpose(0, 2), key.transpose(0, 2), value.transpose(0, 2)  # [R, heads, 1, D]
    if rollout.column is None:
        keys.narrow(2, last, 1).copy_(new_key)
        values.narrow(2, last, 1).copy_(new_value)
    else:
        keys[rollout.column], values[rollout.column] = new_key[:, :, 0], new_value[:, :, 0]
    grouped = q.shape[1] != keys.shape[1]
    if grouped:  # query heads of one key head are rows of one product, [R, Hk, G, D]
        q = q.unflatten(1, (keys.shape[1], -1)).squeeze(3)
    out, lse = _product(q, keys, values, rollout.mask_R11L, scale)
    if rollout.reading is not None:
        _add_prompts(rollout.reading, q, out, lse, index, scale)
    return out.flatten(1, 2)[None] if grouped else out.permute(2, 0, 1, 3)


def _product(q: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """Return outputs [n, Hk, L, D] and log-sum-exps [n, Hk, L]; every query sees every key but for the mask."""
    if mask is not None:
        mask = mask.expand(-1, q.shape[1], q.shape[2], -1)
    out, lse = _flash(q, key, value, 0.0, False, attn_mask=mask, scale=scale)
    return out, lse


def _add_prompts(reading: Reading, q: Tensor, out: Tensor, lse: Tensor, index: int, scale: float) -> None:
    """Add, in place, what rows see of their prompts' blocks; q and out are [R, Hk, G, D], lse [R, Hk, G]."""
    flat = q if reading.slots is None else q.index_select(0, reading.slots)
    parts, sums, start = [], [], 0
    for block, prompts, slots in reading.blocks:
        mine = flat[start : start + prompts * slots].unflatten(0, (prompts, slots)).transpose(1, 2).flatten(2, 3)
        part, total = _product(mine, *block.layers[index], block.mask_n11L, scale)
        parts.append(part.unflatten(2, (slots, -1)).transpose(1, 2).flatten(0, 1))
        sums.append(total.unflatten(2, (slots, -1)).transpose(1, 2).flatten(0, 1))
        start += prompts * slots
    part, total = (x[0] if len(x) == 1 else torch.cat(x) for x in (parts, sums))
    if reading.live is not None:
        part, total = part.index_select(0, reading.live), total.index_select(0, reading.live)
    own = lse if reading.rows is None else lse.index_select(0, reading.rows)
    share = torch.sigmoid(total - own).to(out.dtype)[..., None]  # of the softmax's mass that lies on the prompt
    if reading.rows is None:
        out.lerp_(part, share)
    else:
        out.index_copy_(0, reading.rows, torch.lerp(out.index_select(0, reading.rows), part, share))
