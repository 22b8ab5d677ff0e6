"""Sample responses: each prompt encoded once, keys and values kept, finished samples dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from ..batch.group import Ints
from ..data.template import ChatTemplate
from ..errors import ConfigError
from .plain import sample_plain
from .route import Route, route
from .sampling import Rules, Sample
from .shared import sample_shared

__all__ = ["Route", "Sample", "context", "generate", "sampling_route", "stop_tokens"]

_ANY_DATE = "2000-01-01"
"""The end-of-turn token does not depend on the date that a template is told."""


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
    rules = Rules(k, max_new_tokens, np.asarray(stop_ids, np.int64), temperature, seed)
    _check(model, prompts, rules)
    if not prompts:
        return []
    arrays = [np.asarray(prompt, np.int32) for prompt in prompts]
    with _sampling(model):
        shared = route(model, max(map(len, arrays)) + max_new_tokens).name == "shared"
        return (sample_shared if shared else sample_plain)(model, arrays, rules, batch_tokens)


def sampling_route(model: nn.Module, reach: int) -> Route:
    """Return how `generate` samples prompts that come to `reach` tokens with their samples, and why."""
    with _sampling(model):
        return route(model, reach)


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


def _check(model: nn.Module, prompts: Sequence[Ints], rules: Rules) -> None:
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
