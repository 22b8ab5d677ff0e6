"""Shared-prefix attention on a GPU: FlexAttention, whose kernels skip every block in which nobody sees anybody.

The kernels and the block lists are PyTorch's; what is ours is the rule who sees whom, and the sinks. On a CPU the same
calls run uncompiled, slowly: the tests compare them with the dense mask there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import flex_attention as library
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

BLOCK = 128
"""Side of a block, in tokens."""

SINKS = hasattr(library, "AuxRequest")
"""Whether the library hands out the log-sum-exp that sinks need (torch ≥ 2.9)."""


@dataclass(frozen=True)
class Sight:
    """Who sees whom in a packed row: one's own sequence and the prompt before it, not later than oneself.

    Attributes:
        position_T: Position of each token in its own sequence.
        segment_T: Which prompt, response or pad a token belongs to.
        prompt_T: The segment of the prompt before it; a prompt's own, in prompts.
    """

    position_T: Tensor
    segment_T: Tensor
    prompt_T: Tensor

    def __call__(self, i: Tensor, j: Tensor, window: int | None) -> Tensor:
        """Whether query i sees key j, for indices that broadcast; a window counts positions, not storage."""
        mine = (self.segment_T[j] == self.segment_T[i]) | (self.segment_T[j] == self.prompt_T[i])
        back = self.position_T[i] - self.position_T[j]
        return mine & (back >= 0) if window is None else mine & (back >= 0) & (back < window)

    def dense(self, window: int | None) -> Tensor:
        """Return all of it as a boolean [T, T]."""
        i_T = torch.arange(len(self.position_T), device=self.position_T.device)
        return self(i_T[:, None], i_T[None, :], window)

    def split(self, lengths: list[int]) -> list[Sight]:
        """Part the row into pieces that do not see one another."""
        parts = (tensor.split(lengths) for tensor in (self.position_T, self.segment_T, self.prompt_T))
        return [Sight(*own) for own in zip(*parts, strict=True)]

    def blocks(self, window: int | None) -> BlockMask:
        """Return the blocks that hold a visible pair; the others cost nothing."""

        def sees(_b: Tensor, _h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            return self(i, j, window)

        tokens, device = len(self.position_T), self.position_T.device
        make = _for(device, create_block_mask)
        blocks: BlockMask = make(sees, None, None, tokens, tokens, device=device, BLOCK_SIZE=BLOCK)
        return blocks


def flex(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    blocks: BlockMask,
    scale: float,
    softcap: float | None,
    sink_H: Tensor | None,
) -> Tensor:
    """Attention over blocks, [1, H, T, D]; equals `_masked` of attention.py under the dense mask.

    A sink's exp(s) joins the softmax's sum: outputs are multiplied by Σ exp(scores) / (Σ exp(scores) + exp(s)), which
    is the sigmoid of their log-sum-exp less s.
    """
    attend = _for(query.device, flex_attention)
    shared: dict[str, Any] = {
        "score_mod": None if softcap is None else _capped(softcap),
        "block_mask": blocks,
        "scale": scale,
        "enable_gqa": query.shape[1] != key.shape[1],
    }
    if sink_H is None:
        out: Tensor = attend(query, key, value, **shared)
        return out
    out, extra = attend(query, key, value, **shared, return_aux=library.AuxRequest(lse=True))
    share = torch.sigmoid(extra.lse - sink_H[None, :, None].to(extra.lse.dtype))
    return (out * share[..., None]).to(out.dtype)


@cache
def _capped(softcap: float) -> Callable[..., Tensor]:
    def cap(score: Tensor, *_: Tensor) -> Tensor:
        return softcap * torch.tanh(score / softcap)

    return cap


def _for(device: torch.device, function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on a GPU only: on a CPU the library's compiler takes most of a minute, and has no backward pass."""
    return _compiled(function) if device.type == "cuda" else function


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile, and rather fail than fall back: uncompiled, the kernel would hold every score of the row."""
    compiled: Callable[..., Any] = torch.compile(function, fullgraph=True)
    return compiled
