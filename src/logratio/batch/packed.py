"""Groups laid end to end, as tensors: what the policy reads and what an objective is evaluated on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .group import Group, scored_masks


@dataclass(frozen=True)
class Spans:
    """Where prompts and responses lie in the packed row; all int64 on the CPU.

    Attributes:
        prompt_start_G, prompt_length_G: First token and length of each prompt (length may be 0).
        response_start_S, response_length_S: First token and length of each response.
        group_S: Group to which each response belongs.
    """

    prompt_start_G: Tensor
    prompt_length_G: Tensor
    response_start_S: Tensor
    response_length_S: Tensor
    group_S: Tensor


@dataclass(frozen=True)
class PackedBatch:
    """A bin of groups. A response's positions continue from its prompt's end; it sees its prompt and itself only.

    Attributes:
        tokens_T: Token ids, int64; on a GPU with pads of id 0 at the end.
        positions_T: Position of each token in its own sequence, int64.
        spans: Prompt and response boundaries.
        source_R: Index in T of the token whose hidden state predicts scored token r.
        target_R: Id of scored token r.
        response_R: Response of scored token r, an index in S.
        winner_E, loser_E: Responses of each edge, indices in S.
        row_G: Data-set row of each group.
        token, response, edge, group: Named float32 columns at R, S, E and G.
        state: Running values of the objective before this step, float64 scalars; empty for most.
    """

    tokens_T: Tensor
    positions_T: Tensor
    spans: Spans
    source_R: Tensor
    target_R: Tensor
    response_R: Tensor
    winner_E: Tensor
    loser_E: Tensor
    row_G: Tensor
    token: Mapping[str, Tensor]
    response: Mapping[str, Tensor]
    edge: Mapping[str, Tensor]
    group: Mapping[str, Tensor]
    state: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def responses(self) -> int:
        """Number of responses, S."""
        return len(self.spans.group_S)

    @property
    def length_S(self) -> Tensor:
        """Number of scored tokens of each response, float32 [S]."""
        return self.sum_by_response(torch.ones_like(self.response_R, dtype=torch.float32))

    @property
    def tokens(self) -> int:
        """Number of packed tokens, pads not counted."""
        return int(self.spans.prompt_length_G.sum() + self.spans.response_length_S.sum())

    def sum_by_response(self, value_R: Tensor) -> Tensor:
        """Add up a per-token value over each response: [R] → [S]. Its gradient is a plain `index_select`."""
        zeros_S = torch.zeros(self.responses, dtype=value_R.dtype, device=value_R.device)
        return zeros_S.index_add(0, self.response_R, value_R)

    def to(self, device: torch.device) -> PackedBatch:
        """Return the batch on a device; spans stay on the CPU, where attention plans with them.

        On a GPU the row is padded to a fixed capacity, so that kernels and memory serve many batches.
        """
        if self.tokens_T.device == device:
            return self
        batch = self.padded(capacity(len(self.tokens_T))) if device.type == "cuda" else self
        moved = {part.name: _moved(getattr(batch, part.name), device) for part in fields(self) if part.name != "spans"}
        return replace(batch, **moved)

    def padded(self, tokens: int) -> PackedBatch:
        """Return the batch with a row of `tokens` tokens, not fewer than it has; no pad is scored or seen."""
        pads = (0, tokens - len(self.tokens_T))
        row, positions = (torch.nn.functional.pad(values_T, pads) for values_T in (self.tokens_T, self.positions_T))
        return replace(self, tokens_T=row, positions_T=positions)

    def with_token(self, **columns: Tensor) -> PackedBatch:
        """Return the same batch with token columns added or replaced."""
        return replace(self, token={**self.token, **columns})

    def with_state(self, state: Mapping[str, Tensor]) -> PackedBatch:
        """Return the same batch with running values of the objective."""
        return replace(self, state={name: sent(value, self.tokens_T.device) for name, value in state.items()})


def pack(groups: Sequence[Group]) -> PackedBatch:
    """Lay groups end to end: each prompt once, then its responses.

    An empty sequence gives an empty batch, which a rank short of bins runs with zero coefficients.

        >>> batch = pack(groups[:3])
        >>> batch.tokens == sum(group.tokens for group in groups[:3])
        True
        >>> batch.responses, len(batch.winner_E)
        (6, 3)
    """
    prompt_G = _lengths([group.prompt for group in groups])
    length_S = _lengths([ids for group in groups for ids in group.responses])
    group_S = np.repeat(np.arange(len(groups)), [len(group.responses) for group in groups])
    within_S = np.cumsum(length_S) - length_S  # where each response begins among all response tokens
    tokens_G = prompt_G + _sums(length_S, group_S, len(groups))
    prompt_start_G = np.cumsum(tokens_G) - tokens_G
    prompt_end_S = np.cumsum(prompt_G)[group_S]
    start_S = prompt_end_S + within_S
    tokens = _joined([part for group in groups for part in (group.prompt, *group.responses)])
    response = np.repeat(np.arange(len(length_S)), length_S)
    at = np.arange(len(response)) + prompt_end_S[response]  # place of each response token in the row
    step = np.arange(len(response)) - within_S[response]
    positions = np.arange(len(tokens)) - np.repeat(prompt_start_G, tokens_G)
    positions[at] = prompt_G[group_S][response] + step
    last_G = prompt_start_G + prompt_G - 1
    before = np.where(step == 0, last_G[group_S][response], at - 1)  # the token before each one predicts it
    scored = _joined([mask for group in groups for mask in scored_masks(group)]).astype(np.bool_)
    first_G = np.searchsorted(group_S, np.arange(len(groups)))
    edges = [group.edges + first for group, first in zip(groups, first_G, strict=True)]
    pairs = np.concatenate(edges) if edges else np.zeros((0, 2), np.int64)
    return PackedBatch(
        tokens_T=_long(tokens),
        positions_T=_long(positions),
        spans=Spans(*map(_long, (prompt_start_G, prompt_G, start_S, length_S, group_S))),
        source_R=_long(before[scored]),
        target_R=_long(tokens[at[scored]]),
        response_R=_long(response[scored]),
        winner_E=_long(pairs[:, 0]),
        loser_E=_long(pairs[:, 1]),
        row_G=_long(np.array([group.row for group in groups])),
        token=_columns([group.columns.token for group in groups]),
        response=_columns([group.columns.response for group in groups]),
        edge=_columns([group.columns.edge for group in groups]),
        group=_columns([group.columns.group for group in groups]),
    )


def capacity(tokens: int) -> int:
    """Return the size to which a row is padded on a GPU: whole blocks of 128, and at most 1/16 more from 2,048 on."""
    step = max(128, 1 << max(0, tokens.bit_length() - 5))
    return -(-tokens // step) * step


def sent(value: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device without waiting for it: a GPU copies from pinned memory in its own time."""
    if device.type == "cuda" and value.device.type == "cpu":
        return value.pin_memory().to(device, non_blocking=True)
    return value.to(device)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return sent(value, device)
    return {name: sent(column, device) for name, column in value.items()}


def _lengths(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([len(part) for part in parts], dtype=np.int64)


def _sums(values: np.ndarray, owner: np.ndarray, owners: int) -> np.ndarray:
    """Add up values over each of their owners, which are in ascending order."""
    ends = np.concatenate([[0], np.cumsum(values)])
    edges = np.searchsorted(owner, np.arange(owners + 1))
    return np.asarray(ends[edges[1:]] - ends[edges[:-1]])


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _long(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.int64))


def _columns(per_group: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Tensor]:
    names = per_group[0].keys() if per_group else ()
    return {name: torch.from_numpy(np.concatenate([columns[name] for columns in per_group])) for name in names}
