"""Sampling for any architecture: transformers' own cache, whatever it holds, and no attention of ours.

Rows of unequal prompts lie side by side without padding: all start at the length of the shortest prompt, and a row
whose prompt goes on is fed its own next token instead of a drawn one. Where its prompt ends, a row splits into its K
samples. Positions and attention are therefore the model's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..batch.group import Ints
from .sampling import Drawn, Rules, Sample

STATE_NAMES = ("past_key_values", "cache_params")
"""What a model may call the state that it returns and takes back."""

_LEAST_SPREAD = 16
"""Prompts whose lengths differ by at most so much may always share a batch."""


def sample_plain(model: nn.Module, prompts: Sequence[Ints], rules: Rules, budget: int) -> list[list[Sample]]:
    """Draw each prompt's samples, in batches of similar length of at most `budget` held tokens."""
    samples: list[list[Sample]] = [[] for _ in prompts]
    for members in _batches([len(prompt) for prompt in prompts], rules, budget):
        drawn = _sample_batch(model, [prompts[i] for i in members], rules)
        for i, own in zip(members, drawn, strict=True):
            samples[i] = own
    return samples


def _batches(lengths: Sequence[int], rules: Rules, budget: int) -> Iterator[list[int]]:
    """Yield prompts of similar length together, as many as the budget holds with all their samples at full length."""
    spread = max(_LEAST_SPREAD, rules.limit // 2)
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        full = (len(batch) + 1) * rules.k * (lengths[i] + rules.limit) > budget
        if batch and (full or lengths[i] - lengths[batch[0]] > spread):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _sample_batch(model: nn.Module, prompts: list[Ints], rules: Rules) -> list[list[Sample]]:
    """Sample one batch. A row is (prompt, sample), the sample −1 until its prompt has ended and it splits."""
    lengths = np.array([len(prompt) for prompt in prompts])
    rest = np.stack([np.pad(prompt, (0, lengths.max() - len(prompt))) for prompt in prompts])
    grown = Drawn(prompts, rules)
    owner, sample = np.arange(len(prompts)), np.full(len(prompts), -1)
    held, state = int(lengths.min()), None
    feed = rest[:, :held]
    while len(owner):
        logits, state = _forward(model, feed, state)
        ends = lengths[owner] == held
        rows = np.repeat(np.arange(len(owner)), np.where(ends, rules.k, 1))
        owner, sample = owner[rows], sample[rows]
        sample[ends[rows]] = np.tile(np.arange(rules.k), int(ends.sum()))

        drawing = np.flatnonzero(sample >= 0)
        chosen = logits.index_select(0, torch.from_numpy(rows[drawing]).to(logits.device))
        following = rest[owner, min(held, rest.shape[1] - 1)]
        going = np.ones(len(rows), np.bool_)
        if len(drawing):
            following[drawing], going[drawing] = grown.grow(chosen, owner[drawing], sample[drawing])
        _select(state, rows[going], len(logits))
        owner, sample, feed = owner[going], sample[going], following[going, None]
        held += 1
    return grown.samples()


def _forward(model: nn.Module, feed: NDArray[Any], state: Any) -> tuple[Tensor, Any]:
    """Return the logits that follow the last fed token of each row, [rows, V], and the state to go on from."""
    ids = torch.as_tensor(feed, dtype=torch.int64, device=next(model.parameters()).device)
    known = {} if state is None else {state[0]: state[1]}
    output = model(input_ids=ids, use_cache=True, return_dict=True, logits_to_keep=1, **known)
    name = next(name for name in STATE_NAMES if name in output)
    return output.logits[:, -1], (name, output[name])


def _select(state: Any, rows: NDArray[np.int64], of: int) -> None:
    """Keep the state of these rows, repeated where a prompt has split."""
    if not np.array_equal(rows, np.arange(of)):
        state[1].reorder_cache(torch.from_numpy(rows))
