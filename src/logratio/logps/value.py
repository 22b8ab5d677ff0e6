"""Hidden states → values: what a policy may still expect before it writes each scored token."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import linear

from ..batch.packed import PackedBatch
from ..models import anatomy
from .head import wide
from .plain import rows
from .trunk import Trunk, padded_hidden


class ValueHead(nn.Module):
    """V = w·h + b of the hidden state from which the policy itself predicts the token.

    It begins at 0, so that the first phase's advantages are its returns. With LoRA it is trained in full.

    Args:
        width: D of the hidden states.
    """

    body: Literal["shared"] = "shared"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def take(self, *, shared: bool) -> None:
        """Follow the policy's path: its hidden states are at hand on either."""

    def forward(self, batch: PackedBatch, h_RD: Tensor, *, shared: bool) -> Tensor:
        """Return values [R], float32 (float64 where h is), with gradient to the head and to the policy's body.

        Args:
            batch: Groups; not looked at.
            h_RD: The policy's hidden states that predict the scored tokens.
            shared: Which path they came by; not looked at.
        """
        return _values(h_RD, self.score.weight, self.score.bias)


class Critic(nn.Module):
    """Values of a body of its own: a reward model read before each token and not at the last one alone.

    Args:
        model: A model with a scalar head called score, of the policy's vocabulary.
        checkpointing: Recompute its activations in the backward pass.
    """

    body: Literal["separate"] = "separate"

    def __init__(self, model: nn.Module, *, checkpointing: bool = False) -> None:
        super().__init__()
        self.model = model
        self._trunk = Trunk(model)
        anatomy.score_parts(model)
        if checkpointing:
            anatomy.recompute_activations(model)

    def take(self, *, shared: bool) -> None:
        """Follow the policy's path."""
        self._trunk.take(shared=shared)

    def forward(self, batch: PackedBatch, h_RD: Tensor, *, shared: bool) -> Tensor:
        """Return values [R], float32 (float64 in float64), with gradient to its own weights.

        Args:
            batch: Groups.
            h_RD: The policy's hidden states; not looked at.
            shared: Whether to encode a prompt once for all its responses.
        """
        if shared:
            own_RD = self._trunk.run(batch).last_hidden_state[0].index_select(0, batch.source_R)
        else:
            own_RD = at_sources(padded_hidden(self.model, *rows(batch)), batch)
        return _values(own_RD, *anatomy.score_parts(self.model))


def at_sources(h_SLD: Tensor, batch: PackedBatch) -> Tensor:
    """Return, of right-padded rows of one response each, the hidden states that predict the scored tokens, [R, D]."""
    column_R = batch.positions_T.index_select(0, batch.source_R)
    return h_SLD.flatten(0, 1).index_select(0, batch.response_R * h_SLD.shape[1] + column_R)


def _values(h_RD: Tensor, weight_1D: Tensor, bias_1: Tensor | None) -> Tensor:
    dtype = wide(h_RD.dtype)
    bias = None if bias_1 is None else bias_1.to(dtype)
    return linear(h_RD.to(dtype), weight_1D.to(dtype), bias).squeeze(1)
