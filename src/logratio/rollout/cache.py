"""Keys and values of a batch that samples: each prompt's once, each sample's own in place.

Long prompts lie in blocks of similar length, which all their samples read. A short one is written before each of its
samples' own tokens, since a product of its own would cost more than the copy. Samples' own keys and values lie in
buffers that grow by doubling. A sample that ends gives its row to the last one, so that the first rows are always those
at work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Pair = tuple[Tensor, Tensor]
"""Keys and values of one layer."""

_COLUMNS = 64
"""Tokens that a row has room for at first."""


class Rows:
    """The samples' own keys and values, and how many each holds.

    Attributes:
        held: [rows] tokens held of each row, int64.
    """

    def __init__(self) -> None:
        self.held: NDArray[np.int64] = np.zeros(0, np.int64)
        self._layers: dict[int, Pair] = {}
        self._room = (0, _COLUMNS)

    def add(self, held: NDArray[np.int64]) -> slice:
        """Append rows in which so many tokens will be written; return where they lie."""
        first = len(self.held)
        self.held = np.concatenate((self.held, held))
        return slice(first, len(self.held))

    def drop(self, ended: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Take rows out, filling the holes from the end; return which old row each remaining one is."""
        left = len(ended) - int(ended.sum())
        order = np.arange(left)
        holes, movers = np.flatnonzero(ended[:left]), left + np.flatnonzero(~ended[left:])
        order[holes] = movers
        if len(holes):
            longest = int(self.held[movers].max())
            to, source = torch.from_numpy(holes), torch.from_numpy(movers)
            for pair in self._layers.values():
                for buffer in pair:
                    used = buffer[:, :, :longest]
                    used[to] = used[source]
        self.held = self.held[order]
        return order

    def make_room(self) -> None:
        """See to it that every row has room for one token more than it holds."""
        wanted = len(self.held), int(self.held.max(initial=0)) + 1
        if wanted[0] > self._room[0] or wanted[1] > self._room[1]:
            rows, columns = (_doubled(size, least) for size, least in zip(self._room, wanted, strict=True))
            self._room = rows, columns
            for index, (key, value) in self._layers.items():
                self._layers[index] = _wider(key, rows, columns), _wider(value, rows, columns)

    def layer(self, index: int, key: Tensor) -> Pair:
        """Return the buffers of a layer, [rows, Hk, columns, D] each; `key`, [1, Hk, N, D], gives their sizes."""
        known = self._layers.get(index)
        if known is None:
            rows, columns = self._room
            shape = rows, key.shape[1], columns, key.shape[3]
            known = self._layers[index] = key.new_zeros(shape), key.new_zeros(shape)
        return known


def _doubled(size: int, least: int) -> int:
    return size if least <= size else max(least, 2 * size)


def _wider(buffer: Tensor, rows: int, columns: int) -> Tensor:
    wider = buffer.new_zeros(rows, buffer.shape[1], columns, buffer.shape[3])  # what is masked must be finite
    wider[: buffer.shape[0], :, : buffer.shape[2]] = buffer
    return wider


@dataclass
class Block:
    """Prompts of similar length, padded to the longest.

    Attributes:
        lengths: Tokens of each.
        layers: Per layer, keys and values [n, Hk, L, D] each.
        mask_n11L: What is added to scores; None where all are equally long.
    """

    lengths: list[int]
    layers: dict[int, Pair] = field(default_factory=dict)
    mask_n11L: Tensor | None = None

    def write(self, index: int, place: int, key: Tensor, value: Tensor) -> None:
        """Keep a prompt's keys and values of one layer, [Hk, L, D] each."""
        if index not in self.layers:
            shape = len(self.lengths), key.shape[0], max(self.lengths), key.shape[2]
            self.layers[index] = key.new_zeros(shape), key.new_zeros(shape)
            self.mask_n11L = pads_masked(np.array(self.lengths), max(self.lengths), key.dtype)
        for kept, new in zip(self.layers[index], (key, value), strict=True):
            kept[place, :, : new.shape[1]] = new

    def keep(self, places: Sequence[int]) -> None:
        """Let go of all prompts but these."""
        chosen = torch.tensor(places)
        self.lengths = [self.lengths[place] for place in places]
        for index, (key, value) in self.layers.items():
            self.layers[index] = key.index_select(0, chosen), value.index_select(0, chosen)
        if self.mask_n11L is not None:
            self.mask_n11L = self.mask_n11L.index_select(0, chosen)


@dataclass
class Prompt:
    """A prompt at work.

    Attributes:
        length: Its tokens.
        rows: Where its samples' rows lie during the pass that encodes it.
        block: Where its keys and values lie; None where its samples have a copy each.
        place: Its place in the block.
    """

    length: int
    rows: slice
    block: Block | None = None
    place: int = 0

    def write(self, index: int, key: Tensor, value: Tensor, own: Pair) -> None:
        """Keep its keys and values of one layer, [Hk, L, D] each."""
        if self.block is not None:
            self.block.write(index, self.place, key, value)
        else:
            own[0][self.rows, :, : self.length] = key
            own[1][self.rows, :, : self.length] = value


def pads_masked(held: NDArray[np.int64], width: int, dtype: torch.dtype) -> Tensor | None:
    """Return [n, 1, 1, width]: 0 on the first `held` places of each row, −∞ on the others; None without others."""
    if (held == width).all():
        return None
    pads = torch.arange(width) >= torch.from_numpy(held)[:, None]
    return torch.zeros(pads.shape, dtype=dtype).masked_fill_(pads, -torch.inf)[:, None, None]
