"""Samples as a judge sees them, and what it says of those of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..batch.group import Ints
from ..data.prompts import Asking
from ..maths.intervals import Measure, mean_interval
from ..rollout.generate import Sample
from ..rollout.judge import Asked, Judge, answer_of

_OPENING = 8
"""Last tokens of a prompt in which a template may have opened a thought."""


def text_of(sample: Sample, tokenizer: Any) -> str:
    """Return a response as text, without what ended it and other special tokens."""
    kept = sample.tokens[:-1] if sample.ended else sample.tokens
    text: str = tokenizer.decode(kept.tolist(), skip_special_tokens=True)
    return text


def asked_of(asking: Asking, texts: Sequence[str], prompt: Ints, tokenizer: Any) -> Asked:
    """Return what a judge is asked about one prompt: of each response what follows its thought."""
    opened = tokenizer.decode(prompt[-_OPENING:].tolist()).rstrip().endswith("<think>")
    return Asked(asking.prompt, tuple(answer_of(text, opened=opened) for text in texts), asking.row)


def rewards(
    judge: Judge,
    asking: Sequence[Asking],
    prompts: Sequence[Ints],
    drawn: Sequence[Sequence[Sample]],
    tokenizer: Any,
) -> dict[str, Measure]:
    """Return `reward`, the mean score of samples with its interval over prompts.

    Nothing is said where the judge only compares, and prompts on which it failed are left out.

    Raises:
        JudgeError: It failed, and nothing is to be skipped.
    """
    asked = [
        asked_of(one, [text_of(sample, tokenizer) for sample in samples], prompt, tokenizer)
        for one, prompt, samples in zip(asking, prompts, drawn, strict=True)
    ]
    known = [verdict.scores for verdict in judge(asked) if not verdict.failed]
    values = [score for scores in known if scores is not None for score in scores]
    clusters = [n for n, scores in enumerate(known) for _ in scores or ()]
    return {"reward": mean_interval(values, clusters=clusters)} if values else {}
