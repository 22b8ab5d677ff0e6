"""Responses drawn by a server that speaks OpenAI's completions protocol and tells token ids, as vLLM's does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import numpy as np

from ...batch.group import Ints
from ...errors import EngineError
from ...files import content_hash
from ..engine import alike, sample_of
from ..http import RequestError, Server
from ..sampling import Rules, Sample

_PATH = "/completions"
_ID = re.compile(r"token_id:(\d+)")

TELLING: Mapping[str, Any] = {
    "logprobs": 0,
    "return_token_ids": True,
    "return_tokens_as_token_ids": True,
    "skip_special_tokens": False,
    "add_special_tokens": False,
}
"""Fields beyond OpenAI's own by which vLLM's server tells token ids, and reads the prompt's as they are."""


@dataclass
class CompletionsEngine:
    """Draws from the weights that a server holds. They do not follow a policy in training: it serves one-shot rounds.

    Prompts go as token ids. What comes back must be token ids, since text may be tokenised otherwise than it was drawn:
    `token_ids` of a choice, or `logprobs.tokens` written as token_id:N. Log-probs are taken to be the model's own, at
    temperature 1, which is what vLLM's server tells unless it is started otherwise.

    Attributes:
        server: Where to ask.
        model: Name that the server knows the model by.
        concurrency: Requests under way at once.
        request: Further fields of each request.
        description: What it is.
    """

    server: Server
    model: str
    concurrency: int = 8
    request: Mapping[str, Any] = field(default_factory=lambda: dict(TELLING))
    description: str = field(init=False)

    def __post_init__(self) -> None:
        self.description = f"{self.model} at {self.server.url}"

    def __call__(self, prompts: Sequence[Ints], rules: Rules) -> list[list[Sample]]:
        """Draw, one request a prompt; each has a seed of its own, made of the rules' and the prompt's tokens.

        Raises:
            EngineError: A request fails for good, or what comes back is not what was asked for.
        """
        halted = Event()

        def drawn(prompt: Ints) -> list[Sample]:
            body = {
                "model": self.model,
                "prompt": [int(token) for token in prompt],
                "n": rules.k,
                "max_tokens": rules.limit,
                "temperature": rules.temperature,
                "seed": int(content_hash(rules.seed, np.asarray(prompt, np.int32))[:7], 16),
                "stop_token_ids": rules.stops.tolist(),
                **self.request,
            }
            try:
                choices = _choices(self.server.post(_PATH, body, halted).body, rules.k)
                return [sample_of(*_tokens(choice, rules.stops.tolist()), rules) for choice in choices]
            except RequestError as error:
                raise EngineError(f"{self.description} drew nothing: {error}.") from None
            except EngineError as error:
                raise EngineError(f"{self.description} cannot be used: {error}") from None

        with ThreadPoolExecutor(self.concurrency) as beside:
            futures = [beside.submit(drawn, prompt) for prompt in prompts]
            try:
                return alike([future.result() for future in futures])
            finally:
                halted.set()
                beside.shutdown(wait=True, cancel_futures=True)


def _choices(body: Mapping[str, Any], k: int) -> list[Mapping[str, Any]]:
    """Return a prompt's k choices in their order.

    Raises:
        EngineError: They are not k choices.
    """
    choices = body.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise EngineError("its answer is not in the form of a completion.")
    if len(choices) != k:
        raise EngineError(f"it answered with {len(choices)} choices where n = {k} were asked for.")
    return sorted(choices, key=lambda choice: int(choice.get("index", 0)))


def _tokens(choice: Mapping[str, Any], stop_ids: Sequence[int]) -> tuple[list[int], list[float] | None]:
    """Return a choice's token ids, the stop token included, and their log-probs, None where these are not told.

    Raises:
        EngineError: It tells no token ids.
    """
    told = choice.get("logprobs") or {}
    tokens, logps = choice.get("token_ids"), told.get("token_logprobs")
    if tokens is None:
        found = [_ID.fullmatch(str(token)) for token in told.get("tokens") or ()]
        if not found or not all(found):
            raise EngineError(
                "it tells no token ids, and text may be tokenised otherwise than it was drawn; use a server that does, "
                "as vLLM's with return_token_ids."
            )
        tokens = [int(match[1]) for match in found if match]
    tokens = [int(token) for token in tokens]
    if choice.get("finish_reason") == "stop" and (not tokens or tokens[-1] not in stop_ids):
        stopped = choice.get("stop_reason")
        if not (isinstance(stopped, int) and stopped in stop_ids):
            stopped = stop_ids[0] if len(stop_ids) == 1 else None
        if stopped is None:
            raise EngineError("it does not say which of several stop tokens ended a response.")
        tokens, logps = [*tokens, int(stopped)], None if logps is None else [*logps, float("nan")]
    return tokens, None if logps is None else [float("nan") if logp is None else float(logp) for logp in logps]
