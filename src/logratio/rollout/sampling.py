"""Drawing tokens: what a sample's random numbers are, and how one becomes a token."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..batch.group import Floats, Ints
from ..errors import NonFiniteError
from ..maths.counter import stream
from ..models.device import desk


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled response.

    Attributes:
        tokens: [L] token ids, 1 ≤ L ≤ max_new_tokens, the stop token included where one was reached.
        logps: [L] log-prob of each token under the model at temperature 1, whatever temperature it was drawn at, nats.
        ended: Whether the last token is a stop token.
        tempered: [L] the same log-probs at the temperature that it was drawn at, nats; None where that is 0 or unknown.
    """

    tokens: Ints
    logps: Floats
    ended: bool
    tempered: Floats | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """How to draw, the same for every prompt.

    Attributes:
        k: Samples a prompt, ≥ 1.
        limit: Tokens of a sample at most, ≥ 1.
        stops: Tokens that end one.
        temperature: Divides the logits, ≥ 0; 0 takes the likeliest token.
        seed: First part of the key of every random number.
    """

    k: int
    limit: int
    stops: NDArray[np.int64]
    temperature: float = 1.0
    seed: int = 0


class Drawn:
    """The samples of some prompts while they grow: arrays over prompts, samples and tokens."""

    def __init__(self, prompts: list[Ints], rules: Rules) -> None:
        self._rules = rules
        self._uniforms = np.stack([uniforms(prompt, rules) for prompt in prompts])
        self._tokens = np.zeros((len(prompts), rules.k, rules.limit), np.int32)
        self._logps = np.zeros(self._tokens.shape, np.float32)
        self._tempered = self._logps if rules.temperature == 1 else np.zeros_like(self._logps)
        self._count = np.zeros(self._tokens.shape[:2], np.int64)
        self._ended = np.zeros(self._tokens.shape[:2], np.bool_)

    def grow(
        self, logits: Tensor, prompt: NDArray[np.int64], sample: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Draw the next token of each sample (prompt, sample) from its row of `logits`, [rows, V].

        Returns:
            The tokens, and whether each sample goes on after its own.
        """
        at = self._count[prompt, sample]
        drawn, logp, tempered = draw(logits, self._uniforms[prompt, sample, at], self._rules.temperature)
        ended = (drawn[:, None] == self._rules.stops).any(1)  # of few numbers faster than isin
        self._tokens[prompt, sample, at], self._logps[prompt, sample, at] = drawn, logp
        if tempered is not None:
            self._tempered[prompt, sample, at] = tempered
        self._count[prompt, sample], self._ended[prompt, sample] = at + 1, ended
        return drawn, ~ended & (at + 1 < self._rules.limit)

    def samples(self) -> list[list[Sample]]:
        """Return what was drawn, for each prompt its samples."""
        known = self._rules.temperature > 0
        return [
            [
                Sample(
                    self._tokens[i, j, :n],
                    self._logps[i, j, :n],
                    bool(self._ended[i, j]),
                    self._tempered[i, j, :n] if known else None,
                )
                for j, n in enumerate(own)
            ]
            for i, own in enumerate(self._count)
        ]


def uniforms(prompt: Ints, rules: Rules) -> NDArray[np.float64]:
    """Return the numbers in [0, 1) that decide a prompt's samples, [k, limit]; a lower limit gives the same ones."""
    name = hashlib.blake2b(np.ascontiguousarray(prompt, "<i4").tobytes(), digest_size=16).hexdigest()
    return np.stack([stream(rules.seed, "sample", name, j).random(rules.limit) for j in range(rules.k)])


def draw(
    logits: Tensor, uniform: NDArray[np.float64], temperature: float
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32] | None]:
    """Return one token a row, by inverse CDF in float64, its log-prob at temperature 1, and that at `temperature`.

    The latter is None where it is known already (1) or has no meaning (0).

    Args:
        logits: [rows, V].
        uniform: [rows], in [0, 1).
        temperature: ≥ 0.

    Raises:
        NonFiniteError: A logit that matters is NaN or infinite.
    """
    wide = logits.to(desk(logits.device), torch.promote_types(logits.dtype, torch.float32))
    if temperature == 0:
        token = wide.argmax(-1, keepdim=True)
    else:
        share = (wide if temperature == 1 else wide / temperature).softmax(-1)
        cdf = share.cumsum(-1, dtype=torch.float64)
        level = torch.from_numpy(uniform).to(cdf.device)[:, None] * cdf[:, -1:]
        token = torch.searchsorted(cdf, level, right=True).clamp_(max=cdf.shape[1] - 1)
    logp = share.gather(-1, token).log() if temperature == 1 else wide.log_softmax(-1).gather(-1, token)
    own = logp[:, 0].float().cpu().numpy()
    apart = None if temperature in (0, 1) else share.gather(-1, token).log()[:, 0].float().cpu().numpy()
    if not np.isfinite(own).all():
        raise NonFiniteError(
            "the model's logits are NaN or infinite while sampling, so its weights are damaged or overflow; "
            "load an earlier checkpoint or use precision fp32."
        )
    return token[:, 0].cpu().numpy(), own, apart
