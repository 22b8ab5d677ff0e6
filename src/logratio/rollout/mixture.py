"""Samples from between two models, token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..batch.group import Ints
from .generate import HELD, check, sampling
from .plain import STATE_NAMES, sample_plain
from .sampling import Rules, Sample


@dataclass
class _Both:
    """The states of two models, which keep the same rows."""

    own: tuple[str, Any]
    other: tuple[str, Any]

    def reorder_cache(self, rows: Tensor) -> None:
        for _, state in (self.own, self.other):
            state.reorder_cache(rows)


class _Output(dict[str, Any]):
    @property
    def logits(self) -> Tensor:
        logits: Tensor = self["logits"]
        return logits


class _Mixture(nn.Module):
    """(1 − λ)·log π + λ·log π_other as logits, with a state of both models."""

    def __init__(self, own: nn.Module, other: Callable[[], AbstractContextManager[nn.Module]], share: float) -> None:
        super().__init__()
        self.own, self._other, self._share = own, other, share

    def forward(self, past_key_values: _Both | None = None, **fed: Any) -> _Output:
        own, mine = _run(self.own, fed, None if past_key_values is None else past_key_values.own)
        with self._other() as model:
            other, theirs = _run(model, fed, None if past_key_values is None else past_key_values.other)
        return _Output(logits=torch.lerp(own, other, self._share), past_key_values=_Both(mine, theirs))


def _run(model: nn.Module, fed: dict[str, Any], state: tuple[str, Any] | None) -> tuple[Tensor, tuple[str, Any]]:
    output = model(**fed, **({} if state is None else {state[0]: state[1]}))
    name = next(name for name in STATE_NAMES if name in output)
    return output.logits.float().log_softmax(-1), (name, output[name])


def generate_between(
    model: nn.Module,
    other: Callable[[], AbstractContextManager[nn.Module]],
    share: float,
    prompts: Sequence[Ints],
    rules: Rules,
    batch_tokens: int = HELD,
) -> list[list[Sample]]:
    """Draw k responses to every prompt, token by token, from softmax(((1 − λ)·log π + λ·log π_other) / temperature).

    Args:
        model: π, as in `generate`.
        other: Gives the other model for as long as one forward pass lasts; it may be the same module, changed.
        share: λ, in [0, 1].
        prompts: As in `generate`.
        rules: How to draw.
        batch_tokens: As in `generate`.

    Returns:
        For each prompt, its k samples, with the log-probs of the mixture.

    Raises:
        ConfigError: As `generate`.
        NonFiniteError: As `generate`.
    """
    check(model, prompts, rules)
    if not prompts:
        return []
    arrays = [np.asarray(prompt, np.int32) for prompt in prompts]
    with sampling(model):
        return sample_plain(_Mixture(model, other, share), arrays, rules, batch_tokens)
