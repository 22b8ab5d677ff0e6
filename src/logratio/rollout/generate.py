"""Sample responses: each prompt encoded once, keys and values kept, finished rows dropped.

Rows of unequal prompts lie side by side without padding: all start at the length of the shortest prompt, and a row
whose prompt goes on is fed its own next token instead of a drawn one. Where its prompt ends, a row splits into its K
samples. Positions and attention are therefore the model's own, for any architecture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..batch.group import Floats, Ints
from ..data.template import ChatTemplate
from ..errors import ConfigError, NonFiniteError
from ..maths.counter import stream

_STATE_NAMES = ("past_key_values", "cache_params")
"""What a model may call the state that it returns and takes back."""

_ANY_DATE = "2000-01-01"
"""The end-of-turn token does not depend on the date that a template is told."""

_LEAST_SPREAD = 16
"""Prompts whose lengths differ by at most so much may always share a batch."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled response.

    Attributes:
        tokens: [L] token ids, 1 ≤ L ≤ max_new_tokens, the stop token included where one was reached.
        logps: [L] log-prob of each token under the model at temperature 1, whatever temperature it was drawn at, nats.
        ended: Whether the last token is a stop token.
    """

    tokens: Ints
    logps: Floats
    ended: bool


@dataclass(frozen=True, slots=True)
class _Rules:
    """How to draw, the same for every batch."""

    k: int
    limit: int
    stops: NDArray[np.int64]
    temperature: float
    seed: int


def generate(
    model: nn.Module,
    prompts: Sequence[Ints],
    *,
    k: int = 1,
    max_new_tokens: int,
    stop_ids: Sequence[int],
    temperature: float = 1.0,
    seed: int = 0,
    batch_tokens: int = 1 << 14,
) -> list[list[Sample]]:
    """Draw k responses to every prompt, token by token, from softmax(logits / temperature).

    Token t of sample j inverts the cumulative distribution at the t-th number of stream(seed, prompt hash, j), so it
    depends on nothing else: up to the rounding of the logits, neither on batch mates nor on `batch_tokens`, and equal
    prompts have equal samples. The model's mode, gradients and settings are left as they were.

    Args:
        model: A causal language model of transformers, or one wrapped by PEFT.
        prompts: Token ids of each prompt, at least one token each.
        k: Samples a prompt, ≥ 1.
        max_new_tokens: Length limit of a response, ≥ 1.
        stop_ids: Tokens that end a response.
        temperature: ≥ 0; 0 takes the likeliest token.
        seed: First part of the key of every random number.
        batch_tokens: Tokens whose keys and values are held at once; a prompt's k samples stay together.

    Returns:
        For each prompt, its k samples.

    Raises:
        ConfigError: A value out of range, an empty prompt, or one too long for the model's positions.
        NonFiniteError: The model's logits are NaN or infinite.
    """
    rules = _Rules(k, max_new_tokens, np.asarray(stop_ids, np.int64), temperature, seed)
    _check(model, prompts, rules)
    samples: list[list[Sample]] = [[] for _ in prompts]
    with _sampling(model):
        for members in _batches([len(prompt) for prompt in prompts], rules, batch_tokens):
            drawn = _sample_batch(model, [np.asarray(prompts[i]) for i in members], rules)
            for i, own in zip(members, drawn, strict=True):
                samples[i] = own
    return samples


def context(model: nn.Module) -> int | None:
    """Return how many tokens a prompt and its response may have together; None where the model sets no limit."""
    limit: int | None = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    return limit


def stop_tokens(model: nn.Module, tokenizer: Any) -> list[int]:
    """Return the tokens that end a response: EOS, those of the generation config, and the template's end of turn."""
    listed = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    stops = {tokenizer.eos_token_id, *(listed if isinstance(listed, list) else [listed])}
    if tokenizer.chat_template is not None:
        stops.add(ChatTemplate(tokenizer, {}, _ANY_DATE).end_of_turn)
    return sorted(stop for stop in stops if stop is not None)


def _check(model: nn.Module, prompts: Sequence[Ints], rules: _Rules) -> None:
    for name, value, least in (("k", rules.k, 1), ("max_new_tokens", rules.limit, 1)):
        if value < least:
            raise ConfigError(f"{name} is {value} but must be at least {least}, or nothing is sampled; raise it.")
    if not rules.temperature >= 0:
        raise ConfigError(
            f"temperature is {rules.temperature} but must be 0 or more, since it divides the logits; "
            "use 0 for the likeliest token or 1 for the model's own distribution."
        )
    limit = context(model)
    for i, prompt in enumerate(prompts):
        if len(prompt) == 0:
            raise ConfigError(
                f"prompt {i} has no tokens, so nothing predicts the first one; begin it with a BOS token."
            )
        if limit is not None and len(prompt) + rules.limit > limit:
            raise ConfigError(
                f"prompt {i} has {len(prompt)} tokens and may grow by {rules.limit}, but the model knows {limit} "
                "positions; lower max_new_tokens or leave that prompt out."
            )


@contextmanager
def _sampling(model: nn.Module) -> Iterator[None]:
    """Switch off dropout and gradients; afterwards every module is in the mode that it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():  # inference mode would taint buffers that training reads later
            yield
    finally:
        for module, training in modes:
            module.training = training


def _batches(lengths: Sequence[int], rules: _Rules, budget: int) -> Iterator[list[int]]:
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


def _sample_batch(model: nn.Module, prompts: Sequence[Ints], rules: _Rules) -> list[list[Sample]]:
    """Sample one batch. A row is (prompt, sample), the sample −1 until its prompt has ended and it splits."""
    lengths = np.array([len(prompt) for prompt in prompts])
    rest = np.stack([np.pad(prompt, (0, lengths.max() - len(prompt))) for prompt in prompts])
    uniforms = np.stack([_uniforms(prompt, rules) for prompt in prompts])
    tokens = np.zeros((len(prompts), rules.k, rules.limit), np.int32)
    logps = np.zeros(tokens.shape, np.float32)
    count = np.zeros(tokens.shape[:2], np.int64)
    ended = np.zeros(tokens.shape[:2], np.bool_)

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
        p, s = owner[drawing], sample[drawing]
        at = held - lengths[p]
        drawn, logp = _draw(logits, rows[drawing], uniforms[p, s, at], rules.temperature)
        tokens[p, s, at], logps[p, s, at] = drawn, logp
        count[p, s], ended[p, s] = at + 1, np.isin(drawn, rules.stops)

        following = rest[owner, min(held, rest.shape[1] - 1)]
        following[drawing] = drawn
        going = np.ones(len(rows), np.bool_)
        going[drawing] = ~ended[p, s] & (at + 1 < rules.limit)
        _select(state, rows[going], len(logits))
        owner, sample, feed = owner[going], sample[going], following[going, None]
        held += 1
    return [
        [Sample(tokens[i, j, :n], logps[i, j, :n], bool(ended[i, j])) for j, n in enumerate(count[i])]
        for i in range(len(prompts))
    ]


def _uniforms(prompt: Ints, rules: _Rules) -> NDArray[np.float64]:
    """Return the numbers in [0, 1) that decide a prompt's samples, [k, limit]; a lower limit gives the same ones."""
    name = hashlib.blake2b(np.ascontiguousarray(prompt, "<i4").tobytes(), digest_size=16).hexdigest()
    return np.stack([stream(rules.seed, "sample", name, j).random(rules.limit) for j in range(rules.k)])


def _forward(model: nn.Module, feed: NDArray[Any], state: Any) -> tuple[Tensor, Any]:
    """Return the logits that follow the last fed token of each row, [rows, V], and the state to go on from."""
    ids = torch.as_tensor(feed, dtype=torch.int64, device=next(model.parameters()).device)
    known = {} if state is None else {state[0]: state[1]}
    output = model(input_ids=ids, use_cache=True, return_dict=True, logits_to_keep=1, **known)
    name = next(name for name in _STATE_NAMES if name in output)
    return output.logits[:, -1], (name, output[name])


def _select(state: Any, rows: NDArray[np.int64], of: int) -> None:
    """Keep the state of these rows, repeated where a prompt has split."""
    if not np.array_equal(rows, np.arange(of)):
        state[1].reorder_cache(torch.from_numpy(rows))


def _draw(
    logits: Tensor, rows: NDArray[np.int64], uniform: NDArray[np.float64], temperature: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return one token a row, by inverse CDF in float64, and its log-prob at temperature 1."""
    chosen = logits.index_select(0, torch.from_numpy(rows).to(logits.device))
    logp = chosen.log_softmax(-1, dtype=torch.promote_types(chosen.dtype, torch.float32))
    if temperature == 0:
        token = logp.argmax(-1, keepdim=True)
    else:
        cdf = (logp if temperature == 1 else (logp / temperature).log_softmax(-1)).exp().cumsum(-1, dtype=torch.float64)
        level = torch.from_numpy(uniform).to(cdf.device)[:, None] * cdf[:, -1:]
        token = torch.searchsorted(cdf, level, right=True).clamp_(max=cdf.shape[1] - 1)
    own = logp.gather(-1, token)
    if not own.isfinite().all():
        raise NonFiniteError(
            "the model's logits are NaN or infinite while sampling, so its weights are damaged or overflow; "
            "load an earlier checkpoint or use precision fp32."
        )
    return token[:, 0].cpu().numpy(), own[:, 0].float().cpu().numpy()
