"""What draws responses, behind one call: this package's sampler, a completions server, or vLLM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from torch import nn

from ..batch.group import Ints
from ..errors import EngineError
from .generate import generate_by
from .sampling import Rules, Sample


class Engine(Protocol):
    """Whatever draws responses from a distribution over tokens.

    Attributes:
        description: What it is, a phrase to print.
    """

    description: str

    def __call__(self, prompts: Sequence[Ints], rules: Rules) -> list[list[Sample]]:
        """Draw k responses to every prompt.

        A response ends with the first stop token, which it includes, or has `rules.limit` tokens. Where the engine
        does not tell a token's log-prob, `Sample.logps` is NaN there. Where it does not tell those of the sampled
        distribution for all of them, `Sample.tempered` is None of all, and the mismatch between sampler and trainer
        cannot be measured.

        Args:
            prompts: Token ids of each prompt, at least one token each.
            rules: How to draw; of the seed, as far as the engine keeps to one.
        """
        ...


@dataclass
class BuiltIn:
    """This package's sampler around a model in memory; always of the model's present weights."""

    model: nn.Module
    description: str = "the built-in sampler"

    def __call__(self, prompts: Sequence[Ints], rules: Rules) -> list[list[Sample]]:
        """Draw as `generate` does: equal seeds give equal samples, whatever is drawn beside them."""
        return generate_by(self.model, prompts, rules)


def sample_of(tokens: Sequence[int], logps: Sequence[float] | None, rules: Rules) -> Sample:
    """Return what another engine drew as a sample, checked.

    Args:
        tokens: What was drawn.
        logps: Log-prob of each at temperature 1; None where they are not known.
        rules: By which it was to be drawn; only at temperature 1 are log-probs those of the sampled distribution.

    Raises:
        EngineError: It is empty, too long, goes on after a stop token, ends before the limit without one, or has
            other than one log-prob ≤ 0 a token.
    """
    ids = np.asarray(tokens, np.int64)
    stops = np.flatnonzero(np.isin(ids, rules.stops))
    if not len(ids) or len(ids) > rules.limit or (ids < 0).any():
        raise EngineError(f"it drew {len(ids)} tokens where 1 to {rules.limit} were asked for.")
    if len(stops) and stops[0] < len(ids) - 1:
        raise EngineError(f"it drew {len(ids) - 1 - stops[0]} tokens after a stop token; give it the same stop tokens.")
    if not len(stops) and len(ids) < rules.limit:
        raise EngineError(f"it ended a response after {len(ids)} tokens without a stop token; give it the same ones.")
    known = np.full(len(ids), np.nan, np.float32) if logps is None else np.asarray(logps, np.float32)
    if len(known) != len(ids) or (known > 1e-3).any():
        raise EngineError(f"it gave {len(known)} log-probs to {len(ids)} tokens, or some above 0.")
    whole = rules.temperature == 1 and bool(np.isfinite(known).all())
    return Sample(ids.astype(np.int32), known, bool(len(stops)), known if whole else None)


def alike(samples: list[list[Sample]]) -> list[list[Sample]]:
    """Return the samples, with log-probs of the sampled distribution of all of them or of none."""
    if all(one.tempered is not None for own in samples for one in own):
        return samples
    return [[replace(one, tempered=None) for one in own] for own in samples]
