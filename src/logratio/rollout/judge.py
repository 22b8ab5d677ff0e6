"""Whatever prefers: prompts with responses → verdicts. One call, plain data, no torch.

A verdict scores or compares; either is turned into the other here, so that every judge serves every objective.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Literal, Protocol

from ..batch.group import Ints
from ..errors import JudgeError, LogratioError
from ..pyfile import said
from ..records import Text

OPENED, CLOSED = "<think>", "</think>"
"""What stands before and after a response's thought."""

IN_MEMORY = "in memory"
"""Stands for the module of a function that was given as an object, and cannot be found again by name."""

_OPENING = 8
"""Last tokens of a prompt in which a template may have opened a thought."""

OnFailure = Literal["stop", "skip"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt with the responses to be judged.

    Attributes:
        prompt: Plain text or chat messages.
        responses: As decoded, special tokens removed, of each only what `answer_of` leaves.
        row: The other fields of the prompt's data row (answer, tests, …), which a verifiable reward reads.
    """

    prompt: Text
    responses: tuple[str, ...]
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two responses of one prompt, compared.

    Attributes:
        first: Index of a response.
        second: Index of another one.
        probability: That `first` is preferred, in [0, 1]; ½ is a tie.
    """

    first: int
    second: int
    probability: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of one prompt's responses.

    Attributes:
        scores: One for each response, higher is better, finite; None of a judge that compares or that failed.
        comparisons: Of a judge that compares.
        both_bad: No response is acceptable, whichever is preferred.
        failed: Why there is no verdict, one sentence; "" where there is one.
        usage: What it cost: `calls`, `cached`, `retries`, `tokens_in`, `tokens_out`, `cost`, as far as they apply.
    """

    scores: tuple[float, ...] | None = None
    comparisons: tuple[Comparison, ...] = ()
    both_bad: bool = False
    failed: str = ""
    usage: Mapping[str, float] = field(default_factory=dict)


class Judge(Protocol):
    """Whatever prefers.

    Attributes:
        description: What it is, a phrase to print.
    """

    description: str

    def __call__(self, asked: Sequence[Asked]) -> Sequence[Verdict]:
        """Return a verdict for each prompt, in their order."""
        ...


def thought_and_answer(text: str, *, opened: bool = False) -> tuple[str, str]:
    """Split a response at its last `</think>` into thought and answer.

    A thought that never closes leaves an answer of "". A thought loses its own `<think>`, an answer the white space
    before it.

    Args:
        text: The response.
        opened: Whether the prompt has opened the thought already, as some chat templates do.
    """
    thought, closed, answer = text.rpartition(CLOSED)
    if closed:
        return thought.lstrip().removeprefix(OPENED), answer.lstrip()
    if opened or text.lstrip().startswith(OPENED):
        return text.lstrip().removeprefix(OPENED), ""
    return "", text


def opens_thought(prompt: Ints, tokenizer: Any) -> bool:
    """Return whether a prompt's tokens end with `<think>`, by which a chat template opens the response's thought."""
    end: str = tokenizer.decode(prompt[-_OPENING:].tolist())
    return end.rstrip().endswith(OPENED)


def answer_of(text: str, *, opened: bool = False) -> str:
    """Return what a judge sees of a response: what follows `</think>`, or all of it where there is no thought."""
    return thought_and_answer(text, opened=opened)[1]


def thought_and_answer_lengths(text: str, *, opened: bool = False) -> tuple[int, int]:
    """Return the lengths of a response's thought and answer, in characters."""
    thought, answer = thought_and_answer(text, opened=opened)
    return len(thought), len(answer)


def scores_of(verdict: Verdict, responses: int | None = None) -> tuple[float, ...]:
    """Return one score for each response: the judge's own, or the share of its comparisons that it wins.

    That share, in [0, 1], is the mean probability of being preferred to those that it was compared with; ½ for a
    response that was compared with none, where others were.

    Args:
        verdict: Of a judge that did not fail.
        responses: How many there are; default: as many as the verdict speaks of.

    Raises:
        JudgeError: There is no verdict, or none that says a score: see `scorable`.
    """
    verdict = scorable(verdict)
    _require(verdict)
    if verdict.scores is not None:
        return verdict.scores
    known = max((max(one.first, one.second) + 1 for one in verdict.comparisons), default=0)
    won: list[list[float]] = [[] for _ in range(max(known, responses or 0))]
    for one in verdict.comparisons:
        won[one.first].append(one.probability)
        won[one.second].append(1 - one.probability)
    return tuple(math.fsum(shares) / len(shares) if shares else 0.5 for shares in won)


def scorable(verdict: Verdict) -> Verdict:
    """Return a verdict, or as one that failed where it neither scored nor compared: a lone response has no rank."""
    if verdict.failed or verdict.scores is not None or verdict.comparisons:
        return verdict
    return replace(verdict, failed="it neither scored nor compared, as a judge that compares does to one response")


def comparisons_of(verdict: Verdict, *, soft: bool = False) -> tuple[Comparison, ...]:
    """Return the judge's own comparisons, or those of every two scores.

    Args:
        verdict: Of a judge that did not fail.
        soft: Turn a difference of scores d into the probability σ(d), which is right where scores are log-odds, as a
            reward model's are; otherwise the higher score is preferred with certainty, and equal ones tie.

    Raises:
        JudgeError: There is no verdict.
    """
    _require(verdict)
    if verdict.scores is None:
        return verdict.comparisons
    return tuple(
        Comparison(i, j, _sigmoid(a - b) if soft else 0.5 + 0.5 * ((a > b) - (a < b)))
        for (i, a), (j, b) in combinations(enumerate(verdict.scores), 2)
    )


class UnusableError(Exception):
    """What was answered to all prompts together cannot be used; it says why, as `Verdict.failed` does."""


def together_or_alone(
    ask: Callable[[Sequence[Asked]], list[Verdict]], asked: Sequence[Asked], on_failure: OnFailure
) -> list[Verdict]:
    """Return what a person's own code says of all prompts together.

    Where that raises, and failures are to be skipped, it is asked about each prompt by itself, so that only those are
    lost that it fails on.

    Args:
        ask: Prompts → a verdict for each.
        asked: The prompts.
        on_failure: As `settled` has it.

    Raises:
        LogratioError: `ask` raises one, with "stop": it says already what is wrong.
    """
    try:
        verdicts = ask(asked)
        if len(asked) == 1 and len(verdicts) != 1:
            raise UnusableError(f"it returned {len(verdicts)} verdicts for one prompt")
        return verdicts
    except Exception as error:  # whatever a person's code raises
        if on_failure == "skip" and len(asked) > 1:
            return [verdict for one in asked for verdict in together_or_alone(ask, [one], on_failure)]
        if on_failure == "stop" and isinstance(error, LogratioError):
            raise
        why = str(error) if isinstance(error, UnusableError) else f"it raised {said(error)}"
        return [Verdict(failed=why)] * len(asked)


def settled(
    description: str, asked: Sequence[Asked], verdicts: Sequence[Verdict], on_failure: OnFailure
) -> list[Verdict]:
    """Return verdicts that can be relied on: one for each prompt, each whole or `failed`.

    Args:
        description: The judge's, for messages.
        asked: What it was asked.
        verdicts: What it answered.
        on_failure: "stop" raises at the first failure; "skip" leaves it to the caller to count them.

    Raises:
        JudgeError: A prompt without a verdict, with "stop"; or not one verdict for each prompt.
    """
    if len(verdicts) != len(asked):
        raise JudgeError(
            f"{description} answered {len(asked)} prompts with {len(verdicts)} verdicts, so none can be told apart; "
            "a judge returns one verdict for each prompt, in their order."
        )
    whole = [_whole(one, verdict) for one, verdict in zip(asked, verdicts, strict=True)]
    failures = [verdict.failed for verdict in whole if verdict.failed]
    if failures and on_failure == "stop":
        raise JudgeError(
            f"{description} failed on {len(failures)} of {len(whole)} prompts, at first because {failures[0]}; "
            "mend it, or leave such prompts out and count them with judge.on_failure: skip."
        )
    return whole


def _whole(asked: Asked, verdict: Verdict) -> Verdict:
    """Return a verdict, or what is wrong with it as one that failed."""
    k, wrong = len(asked.responses), ""
    if verdict.failed:
        return verdict
    if verdict.scores is not None:
        if len(verdict.scores) != k:
            wrong = f"it gave {len(verdict.scores)} scores to {k} responses"
        elif not all(map(math.isfinite, verdict.scores)):
            wrong = f"it gave the score {next(s for s in verdict.scores if not math.isfinite(s))}"
    elif not verdict.comparisons and k > 1:
        wrong = "it neither scored nor compared"
    for one in verdict.comparisons:
        if not (0 <= one.first < k and 0 <= one.second < k and one.first != one.second):
            wrong = f"it compared responses {one.first} and {one.second} of {k}"
        elif not 0 <= one.probability <= 1:
            wrong = f"it gave the probability {one.probability}"
    return replace(verdict, scores=None, comparisons=(), failed=wrong) if wrong else verdict


def _require(verdict: Verdict) -> None:
    if verdict.failed:
        raise JudgeError(f"there is no verdict, because {verdict.failed}; leave the prompt out.")


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
