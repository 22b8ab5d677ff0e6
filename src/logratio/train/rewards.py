"""Samples as a judge sees them, and what it says of those of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..batch.group import Group, Ints
from ..data.prompts import Asking
from ..data.summary import TemplateUse
from ..errors import ConfigError
from ..maths.intervals import NOTHING, Measure, mean_interval
from ..rollout.generate import Sample
from ..rollout.judge import Asked, Judge, Verdict, answer_of, opens_thought, thought_and_answer_lengths
from .drawn import costs

_NO_PARTS: Mapping[str, Sequence[int]] = MappingProxyType({})


def asking_of(
    held: Sequence[Group], shown: Sequence[Asking] | None, template: TemplateUse | None, tokenizer: Any
) -> dict[bytes, Asking]:
    """Return what a judge is told of each held-out prompt, by its tokens: its row, or of plain text the text alone.

    Args:
        held: The groups evaluated on.
        shown: Their rows, where responses are drawn; None where the data holds responses.
        template: The chat template in use.
        tokenizer: Turns tokens into text.

    Raises:
        ConfigError: The data are chats that are learned from as they are: of those tokens alone are at hand.
    """
    if shown is not None:
        return {group.prompt.tobytes(): one for group, one in zip(held, shown, strict=True)}
    if held and template is not None:
        raise ConfigError(
            "eval.judge is given, and these rows are chats, of which a run on given responses keeps the tokens and not "
            "the messages that a judge reads; leave it out, and judge the finished run with `logratio winrate`."
        )
    texts = (tokenizer.decode(group.prompt.tolist(), skip_special_tokens=True) for group in held)
    return {group.prompt.tobytes(): Asking(text, {}, 1.0) for group, text in zip(held, texts, strict=True)}


def text_of(sample: Sample, tokenizer: Any) -> str:
    """Return a response as text, without what ended it and other special tokens."""
    kept = sample.tokens[:-1] if sample.ended else sample.tokens
    text: str = tokenizer.decode(kept.tolist(), skip_special_tokens=True)
    return text


def asked_of(asking: Asking, texts: Sequence[str], prompt: Ints, tokenizer: Any) -> Asked:
    """Return what a judge is asked about one prompt: of each response what follows its thought."""
    opened = opens_thought(prompt, tokenizer)
    return Asked(asking.prompt, tuple(answer_of(text, opened=opened) for text in texts), asking.row)


def lengths_of(texts: Sequence[str], prompt: Ints, tokenizer: Any) -> list[tuple[int, int]]:
    """Return the lengths of each response's thought and answer, in characters."""
    opened = opens_thought(prompt, tokenizer)
    return [thought_and_answer_lengths(text, opened=opened) for text in texts]


def rewards(
    judge: Judge,
    asking: Sequence[Asking],
    prompts: Sequence[Ints],
    drawn: Sequence[Sequence[Sample]],
    tokenizer: Any,
    parts: Mapping[str, Sequence[int]] = _NO_PARTS,
) -> tuple[dict[str, Measure], dict[str, Measure], dict[str, float]]:
    """Return `reward`, the mean score of samples, and lengths of thoughts and answers, with intervals over prompts.

    Nothing is said of rewards where the judge only compares, nor of lengths where no sample holds a thought. Prompts on
    which the judge failed have no reward.

    Args:
        judge: Asked once.
        asking: Text and other fields of each prompt.
        prompts: Their tokens.
        drawn: Samples of each.
        tokenizer: Turns tokens into text.
        parts: Some of the prompts by name, of which the reward is told apart.

    Returns:
        The measures of all; the reward of each part, by its name; what judging cost, as far as the judge tells.

    Raises:
        JudgeError: It failed, and nothing is to be skipped.
    """
    texts = [[text_of(sample, tokenizer) for sample in samples] for samples in drawn]
    asked = [asked_of(one, own, prompt, tokenizer) for one, own, prompt in zip(asking, texts, prompts, strict=True)]
    verdicts = judge(asked)
    reward = _mean_score(verdicts)
    measures = {"reward": reward} if reward.n else {}
    apart = {name: _mean_score([verdicts[i] for i in members]) for name, members in parts.items()}
    spent = [{"usage": verdict.usage} for verdict in verdicts]
    return measures | _lengths(texts, prompts, tokenizer), apart, costs(spent)


def _mean_score(verdicts: Sequence[Verdict]) -> Measure:
    known = [verdict.scores for verdict in verdicts if not verdict.failed]
    values = [score for scores in known if scores is not None for score in scores]
    clusters = [n for n, scores in enumerate(known) for _ in scores or ()]
    return mean_interval(values, clusters=clusters) if values else NOTHING


def _lengths(texts: Sequence[Sequence[str]], prompts: Sequence[Ints], tokenizer: Any) -> dict[str, Measure]:
    lengths, clusters = list[tuple[int, int]](), list[int]()
    for number, (own, prompt) in enumerate(zip(texts, prompts, strict=True)):
        lengths += lengths_of(own, prompt, tokenizer)
        clusters += [number] * len(own)
    if not any(thought for thought, _ in lengths):
        return {}
    thoughts, answers = zip(*lengths, strict=True)
    return {
        "thought_length": mean_interval(thoughts, clusters=clusters),
        "answer_length": mean_interval(answers, clusters=clusters),
    }
