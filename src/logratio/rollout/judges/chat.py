"""A language model behind an OpenAI-compatible chat API as a judge."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from threading import Event
from typing import Any

from ...config import JudgeConfig
from ...errors import ConfigError, JudgeError, LogratioError
from ...files import cache_root, content_hash, write_json
from ..http import RequestError, Server
from ..judge import Asked, Comparison, Verdict, settled
from .rubric import RUBRIC, Messages, Said, Unreadable, agreed, compared, score_in, scored, verdict_in

VERSION = 1
"""Raised whenever what is asked or how it is read changes, so that kept answers are not mistaken for new ones."""

_PATH = "/chat/completions"
_PLACE: dict[Said, float] = {"first": 1.0, "second": 0.0}  # that what was shown first is preferred; else ½
_LONE = re.compile("[\ud800-\udfff]")  # JSON spells them, and its reader joins those that are pairs


@dataclass(frozen=True)
class Reply:
    """What a model said to one request, with what that cost, or why it said nothing that can be read."""

    said: Said | None = None
    score: float = math.nan
    failed: str = ""
    usage: Mapping[str, float] = field(default_factory=dict)


class ChatJudge:
    """Compares every two responses of a prompt in both orders, or scores each by itself from 1 to 10.

    A pair on which the two orders disagree is a tie. Answers that can be read are kept on disk by the hash of what was
    asked; neither prompts, nor responses, nor the key are.
    """

    def __init__(self, server: Server, config: JudgeConfig, rubric: str) -> None:
        """Bind a judge to its server; nothing is sent yet.

        Args:
            server: Where to ask.
            config: Its model, form, prices and settings.
            rubric: What to judge by.
        """
        self._server, self._config, self._rubric = server, config, rubric
        what = "scores from 1 to 10" if config.form == "score" else "compares in both orders"
        by = hashlib.sha256(rubric.encode()).hexdigest()[:12]
        self.description = f"{config.model} at {server.url}, which {what} (rubric {by})"

    def __call__(self, asked: Sequence[Asked]) -> list[Verdict]:
        """Return a verdict for each prompt.

        Raises:
            JudgeError: The server refuses the key, the model or the address; or a request fails for good or its answer
                cannot be read, with "stop". What was answered before is kept.
        """
        plans = [self._plan(one) for one in asked]
        replies = iter(self._replies([messages for plan in plans for messages in plan]))
        made = self._scored if self._config.form == "score" else self._compared
        verdicts = [made(one, [next(replies) for _ in plan]) for one, plan in zip(asked, plans, strict=True)]
        return settled(self.description, asked, verdicts, self._config.on_failure)

    def _plan(self, one: Asked) -> list[Messages]:
        """Return the requests that judge one prompt's responses; equal ones are not compared."""
        if self._config.form == "score":
            return [scored(self._rubric, one.prompt, response) for response in one.responses]
        sides = [pair for first, second in _unequal(one) for pair in ((first, second), (second, first))]
        return [compared(self._rubric, one.prompt, one.responses[a], one.responses[b]) for a, b in sides]

    def _scored(self, one: Asked, replies: Sequence[Reply]) -> Verdict:
        failed, usage = _summed(replies)
        scores = None if failed else tuple(reply.score for reply in replies)
        return Verdict(scores=scores, failed=failed, usage=usage)

    def _compared(self, one: Asked, replies: Sequence[Reply]) -> Verdict:
        failed, usage = _summed(replies)
        if failed:
            return Verdict(failed=failed, usage=usage)
        won: dict[tuple[int, int], float] = {}
        bad, flips, first = [], 0, 0.0
        said = [reply.said for reply in replies if reply.said is not None]
        for pair, as_a, as_b in zip(_unequal(one), said[::2], said[1::2], strict=True):
            won[pair], flipped, both_bad = agreed(as_a, as_b)
            flips += flipped
            first += _PLACE.get(as_a, 0.5) + _PLACE.get(as_b, 0.5)
            bad.append(both_bad)
        pairs = combinations(range(len(one.responses)), 2)
        comparisons = tuple(Comparison(*pair, won.get(pair, 0.5)) for pair in pairs)
        usage |= {"flips": flips, "shown_first": first}
        return Verdict(comparisons=comparisons, both_bad=bool(bad) and all(bad), usage=usage)

    def _replies(self, requests: Sequence[Messages]) -> list[Reply]:
        """Send requests, some at once; where one decides for all, or a failure is to stop, the rest is not sent."""
        halted = Event()
        with ThreadPoolExecutor(self._config.concurrency) as beside:
            futures = [beside.submit(self._reply_unless, halted, messages) for messages in requests]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:  # an interrupt from the keyboard, too
                halted.set()
                beside.shutdown(wait=True, cancel_futures=True)
        for future in futures:
            error = None if future.cancelled() else future.exception()
            if error is not None:
                raise error
        return [future.result() for future in futures]

    def _reply_unless(self, halted: Event, messages: Messages) -> Reply:
        if halted.is_set():
            return Reply(failed="it was not asked")
        try:
            found = self._reply(messages, halted)
        except BaseException:
            halted.set()
            raise
        if found.failed and self._config.on_failure == "stop" and not halted.is_set():
            halted.set()
            raise JudgeError(
                f"{self.description} failed, because {found.failed}; what was judged before is kept: try again, or "
                "leave such prompts out and count them with judge.on_failure: skip."
            )
        return found

    def _reply(self, messages: Messages, halted: Event) -> Reply:
        body = {"model": self._config.model, "messages": messages, **self._config.request}
        file = cache_root() / "judges" / f"{content_hash(VERSION, self._server.url, body)}.json"
        kept = _kept(file)
        if kept is not None:
            return self._read(kept, {"cached": 1})
        usage: dict[str, float] = {"calls": 1}
        try:
            answer = self._server.post(_PATH, body, halted)
            usage |= {"retries": answer.retries, **self._paid(answer.body)}
            text = _content(answer.body)
            reply = self._read(text, usage)
        except (RequestError, Unreadable) as error:
            if isinstance(error, RequestError) and error.hopeless:
                raise JudgeError(f"{self.description} cannot be asked: {error}.") from None
            return Reply(failed=str(error), usage=usage)
        with suppress(LogratioError):  # a cache that cannot be written costs money at the next call, no verdict
            write_json(file, {"text": text, "sha256": hashlib.sha256(text.encode()).hexdigest()})
        return reply

    def _read(self, text: str, usage: Mapping[str, float]) -> Reply:
        if self._config.form == "score":
            return Reply(score=score_in(text), usage=usage)
        return Reply(said=verdict_in(text), usage=usage)

    def _paid(self, body: Mapping[str, Any]) -> dict[str, float]:
        """Return the tokens that a server counted, and their price where it is known."""
        told = body.get("usage")
        counts = [told.get(name) if isinstance(told, dict) else None for name in ("prompt_tokens", "completion_tokens")]
        sent, got = (count if isinstance(count, int) and count >= 0 else 0 for count in counts)
        paid: dict[str, float] = {"tokens_in": sent, "tokens_out": got}
        if self._config.price is not None:
            price_in, price_out = self._config.price
            paid["cost"] = (sent * price_in + got * price_out) / 1e6
        return paid


def chat_judge(config: JudgeConfig) -> ChatJudge:
    """Return the judge that a recipe names.

    Raises:
        ConfigError: The model's name, the key or the rubric is missing, or the address must not be used.
    """
    if config.url is None or not config.model:
        raise ConfigError(
            f"judge.model is missing, which {config.url} is to be asked for; write both into the recipe, or into a "
            "YAML file for --judge."
        )
    server = Server.at(
        config.url,
        api_key_env=config.api_key_env,
        timeout=config.timeout,
        retries=config.retries,
        plain_http=config.plain_http,
    )
    rubric = RUBRIC
    if config.rubric is not None:
        try:
            rubric = Path(config.rubric).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"judge.rubric {config.rubric} cannot be read ({error}); check the path.") from None
        if not rubric.strip():
            raise ConfigError(f"judge.rubric {config.rubric} is empty; say in it what to judge by.")
    return ChatJudge(server, config, rubric)


def _unequal(one: Asked) -> list[tuple[int, int]]:
    pairs = combinations(range(len(one.responses)), 2)
    return [(i, j) for i, j in pairs if one.responses[i] != one.responses[j]]


def _summed(replies: Sequence[Reply]) -> tuple[str, dict[str, float]]:
    """Return the first failure, and what all replies cost together."""
    usage: dict[str, float] = {}
    for name, value in (item for reply in replies for item in reply.usage.items()):
        usage[name] = usage.get(name, 0) + value
    return next((reply.failed for reply in replies if reply.failed), ""), usage


def _content(body: Mapping[str, Any]) -> str:
    """Return what the model said; half a surrogate pair, which no file can hold, becomes U+FFFD.

    Raises:
        Unreadable: The answer is of another form, or was cut off.
    """
    try:
        choice = body["choices"][0]
        text, reason = choice["message"]["content"], choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Unreadable("the answer is not in the form of a chat completion") from None
    if not isinstance(text, str):
        raise Unreadable("the answer holds no text")
    if reason == "length":
        raise Unreadable("the answer was cut off at its length limit")
    return _LONE.sub("\N{REPLACEMENT CHARACTER}", text)


def _kept(file: Path) -> str | None:
    """Return an answer that was kept; None where there is none or it is damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        text = found["text"]
        whole = hashlib.sha256(text.encode()).hexdigest() == found["sha256"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return text if whole else None
