"""Sampling with each prompt encoded once: one packed row of new prompts and of all samples at work.

Where a sample ends, its place goes to the next prompt that waits: the tokens of that prompt then join the row in which
the others are fed one token each. Nothing is padded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..batch.group import Ints
from ..logps.fused import few_calls
from ..models import anatomy
from . import attend
from .attend import Pass, Reading
from .cache import Block, Prompt, Rows
from .sampling import Drawn, Rules, Sample

APART = 64
"""Prompts of at least so many tokens keep their keys and values apart from their samples'. Below, a call of its own
costs more than it saves."""

_AT_ONCE = 4096
"""Tokens of new prompts in one pass, unless one prompt alone is longer: products are at their best speed long before,
and activations stay small."""


_SIMILAR = 0.8
"""The shortest prompt of a block is at least this share of its longest: few calls against little padding."""


def sample_shared(
    model: nn.Module, prompts: Sequence[Ints], rules: Rules, budget: int, apart: int = APART
) -> list[list[Sample]]:
    """Draw each prompt's samples, holding at most `budget` tokens at once; a prompt's samples start together."""
    grown = Drawn(list(prompts), rules)
    work = _Work(model, prompts, rules, budget, apart)
    with _attending(model):
        while work.advance(grown):
            pass
    return grown.samples()


@contextmanager
def _attending(model: nn.Module) -> Iterator[None]:
    """Let the model attend as samples do; afterwards it attends as before."""
    before = str(anatomy.unwrapped(model).config._attn_implementation)
    anatomy.register_attention(attend.NAME, attend.attend)
    anatomy.set_attention(model, attend.NAME)
    try:
        with ExitStack() as stack:
            # Weights that are dealt out over processes are gathered in passing, into memory that serves training too.
            if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
                stack.enter_context(few_calls(model))
                stack.enter_context(_inference(model))
            yield
    finally:
        anatomy.set_attention(model, before)


@contextmanager
def _inference(model: nn.Module) -> Iterator[None]:
    """Spare each operation its bookkeeping for gradients, and leave nothing in the model that could have none.

    What a model keeps of a pass, a table of rotary angles for instance, training reads later.
    """
    try:
        with torch.inference_mode():
            yield
    finally:
        for module in model.modules():
            for held in (vars(module), module._buffers):
                for name, value in held.items():
                    if isinstance(value, Tensor) and value.is_inference():
                        held[name] = value.clone()


class _Work:
    """What waits, and the rows at work: a row is one sample of one prompt."""

    def __init__(self, model: nn.Module, prompts: Sequence[Ints], rules: Rules, budget: int, apart: int) -> None:
        self._model, self._dtype = model, next(model.parameters()).dtype
        self._prompts, self._rules, self._budget, self._apart = prompts, rules, budget, apart
        self._waiting = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))  # the last one comes first
        self._held: dict[int, Prompt] = {}
        self._rows = Rows()
        self._reading: Reading | None = None
        self._owner, self._sample, self._feed, self._position = (np.zeros(0, np.int64) for _ in range(4))
        self._reach = max(map(len, prompts)) + rules.limit
        self._taken = 0

    def advance(self, grown: Drawn) -> bool:
        """Run one pass and draw one token of every sample at work; False where nothing is left to do."""
        decoding = len(self._owner)
        admitted = self._admit()
        if not admitted and not decoding:
            return False
        prompts = [self._held[i] for i in admitted]
        layout = Pass.of(prompts, self._rows, decoding, self._reading, self._reach, self._dtype)
        logits = self._logits(admitted, layout)
        self._rows.held[:decoding] += 1
        self._position = self._position + 1
        if admitted:
            logits = logits.index_select(0, torch.from_numpy(self._join(admitted)))
        drawn, going = grown.grow(logits, self._owner, self._sample)
        self._feed = drawn
        if not going.all():
            self._drop(~going)
        if admitted or not going.all():
            self._reading = Reading.of([self._held[i] for i in self._owner.tolist()])
        return True

    def _logits(self, admitted: Sequence[int], layout: Pass) -> Tensor:
        """Return the logits after each admitted prompt and after each row's token, [rows, V]."""
        ids, positions, wanted = self._feed, self._position, None
        if admitted:
            lengths = [len(self._prompts[i]) for i in admitted]
            ids = np.concatenate((*(self._prompts[i] for i in admitted), ids)).astype(np.int64)
            positions = np.concatenate((*map(np.arange, lengths), positions))
            ends = np.cumsum(lengths, dtype=np.int64)
            wanted = torch.from_numpy(np.concatenate((ends, ends[-1] + 1 + np.arange(layout.decoding))) - 1)
        output = self._model(
            input_ids=torch.from_numpy(ids)[None],
            position_ids=torch.from_numpy(positions)[None],
            attention_mask=anatomy.no_mask(torch.device("cpu")),
            use_cache=False,
            return_dict=True,
            logits_to_keep=0 if wanted is None else wanted,
            rollout=layout,
        )
        logits: Tensor = output.logits[0]
        return logits

    def _admit(self) -> list[int]:
        """Take waiting prompts in, as many as the budget and one pass allow; always one where nothing is at work."""
        admitted: list[int] = []
        tokens, block = 0, Block([])
        while self._waiting:
            length = len(self._prompts[self._waiting[-1]])
            over = self._taken + self._cost(length) > self._budget
            if (over and self._held) or (admitted and tokens + length > _AT_ONCE):
                break
            i = self._waiting.pop()
            admitted.append(i)
            self._taken += self._cost(length)
            tokens += length
            if length < self._apart:
                self._held[i] = Prompt(length, self._rows.add(np.full(self._rules.k, length)))
                continue
            if block.lengths and length < _SIMILAR * block.lengths[0]:
                block = Block([])
            rows = self._rows.add(np.zeros(self._rules.k, np.int64))
            self._held[i] = Prompt(length, rows, block, len(block.lengths))
            block.lengths.append(length)
        return admitted

    def _cost(self, length: int) -> int:
        copies = 1 if length >= self._apart else self._rules.k
        return copies * length + self._rules.k * self._rules.limit

    def _join(self, admitted: Sequence[int]) -> NDArray[np.int64]:
        """Let the samples of admitted prompts join the rows at work; return the logits that each row draws from."""
        decoding, k = len(self._owner), self._rules.k
        new = np.array(admitted, np.int64)
        lengths = np.array([self._held[i].length for i in admitted], np.int64)
        self._owner = np.concatenate((self._owner, np.repeat(new, k)))
        self._sample = np.concatenate((self._sample, np.tile(np.arange(k), len(new))))
        self._position = np.concatenate((self._position, np.repeat(lengths, k)))
        return np.concatenate((len(new) + np.arange(decoding), np.repeat(np.arange(len(new)), k)))

    def _drop(self, ended: NDArray[np.bool_]) -> None:
        """Let go of samples that have ended, and of prompts that have none left."""
        order = self._rows.drop(ended)
        left = set(self._owner[order].tolist())
        for i in [i for i in self._held if i not in left]:
            self._taken -= self._cost(self._held.pop(i).length)
        self._owner, self._sample = self._owner[order], self._sample[order]
        self._feed, self._position = self._feed[order], self._position[order]
