"""Which prompts to judge next: those whose samples a judge scores lowest, or on which the present reward says least."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..rollout.judge import Asked, Judge, answer_of, scorable, scores_of
from .draw import Drawn, Question, draw

By = Literal["judge", "margin", "disagreement"]
Floats = NDArray[np.float64]

JUDGES: dict[By, int] = {"judge": 1, "margin": 1, "disagreement": 2}
"""How many judges each rule takes."""


@dataclass(frozen=True)
class Picked:
    """A prompt that was picked.

    Attributes:
        question: The prompt.
        samples: What was drawn to it.
        value: By what it was picked: mean score, mean |margin|, or disagreement.
    """

    question: Question
    samples: Sequence[Drawn]
    value: float


def worst(
    run_or_model: Any,
    questions: Sequence[Question],
    judges: Sequence[Judge],
    *,
    by: By,
    n: int,
    k: int = 2,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    seed: int = 0,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Picked]:
    """Draw k samples of every prompt, and return the n prompts that come first by a rule, the first one first.

    judge          lowest mean score of the samples
    margin         smallest mean |s_i − s_j| over pairs of different samples; of a policy's implicit reward, where its
                   preference is least certain
    disagreement   largest mean of −(d/σ)·(d'/σ') over those pairs, d and d' two judges' differences, σ and σ' their
                   root mean squares over all prompts: two judges prefer different responses, and clearly

    Prompts whose samples are all equal or empty, or that a judge has no verdict on, come last and are never picked.

    Args:
        run_or_model: Who answers.
        questions: Prompts to choose among.
        judges: As many as `JUDGES` says.
        by: The rule.
        n: Prompts to pick, ≥ 1.
        k: Samples a prompt; at least 2, but for "judge".
        max_new_tokens: Length limit of a sample.
        temperature: > 0, or equal samples are compared.
        seed: Of the samples.
        tell: Told of what is slow, in a sentence.

    Raises:
        ConfigError: Another number of judges, or too few samples to compare.
        JudgeError: A judge that stops where it fails did.
    """
    if len(judges) != JUDGES[by]:
        wanted = f"{JUDGES[by]} judge{'s' * (JUDGES[by] > 1)}"
        raise ConfigError(f"{by} takes {wanted}, and {len(judges)} are given; give {wanted}.")
    if k < 2 and by != "judge":
        raise ConfigError(f"{by} compares samples of one prompt, and k is {k}; draw at least 2.")
    drawn = draw(
        run_or_model, questions, k=k, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, tell=tell
    )
    scores = np.array([scored(judge, questions, drawn) for judge in judges])
    value, order = ranked(by, scores, list(map(_answers, drawn)))
    return [Picked(questions[i], drawn[i], float(value[i])) for i in order[:n]]


def ranked(by: By, scores: Floats, answers: Sequence[Sequence[str]]) -> tuple[Floats, list[int]]:
    """Return each prompt's value, float64 [P], NaN where it has none; and those that have one, the first pick first.

    Args:
        by: The rule, as `worst` says.
        scores: Of each judge's scores of each prompt's samples, [J, P, K]; NaN where there is no verdict.
        answers: The samples' texts, P of K.
    """
    pairs = list(combinations(range(scores.shape[2]), 2))
    said = [[(i, j) for i, j in pairs if own[i] != own[j] and own[i].strip() and own[j].strip()] for own in answers]
    different = np.array([[pair in own for pair in pairs] for own in said]).reshape(len(answers), len(pairs))
    gap = np.stack([scores[:, :, i] - scores[:, :, j] for i, j in pairs], axis=2) if pairs else scores[:, :, :0]
    if by == "judge":
        value = scores[0].mean(1)
    elif by == "margin":
        value = _mean(np.abs(gap[0]), different)
    else:
        known = np.where(different & np.isfinite(gap), gap, np.nan)
        size = np.sqrt(np.nanmean(known**2, axis=(1, 2), keepdims=True)) if np.isfinite(known).any() else 1.0
        one, other = gap / np.where(size > 0, size, 1.0)
        value = _mean(-one * other, different)
    ascending = -value if by == "disagreement" else value
    order = [int(i) for i in np.argsort(ascending, kind="stable") if np.isfinite(value[i])]
    return value, order


def _mean(values: Floats, different: NDArray[np.bool_]) -> Floats:
    """Return the mean over pairs of different samples, [P]; NaN where there is none."""
    count = different.sum(1)
    mean: Floats = np.where(different, values, 0.0).sum(1) / np.where(count > 0, count, np.nan)
    return mean


def scored(judge: Judge, questions: Sequence[Question], drawn: Sequence[Sequence[Drawn]]) -> list[list[float]]:
    """Return a judge's scores of each prompt's samples, NaN for a prompt without a verdict."""
    asked = [
        Asked(question.record.prompt, _answers(own), question.others)
        for question, own in zip(questions, drawn, strict=True)
    ]
    verdicts = [scorable(verdict) for verdict in judge(asked)]
    return [
        [float("nan")] * len(own) if verdict.failed else list(scores_of(verdict, len(own)))
        for verdict, own in zip(verdicts, drawn, strict=True)
    ]


def _answers(samples: Sequence[Drawn]) -> tuple[str, ...]:
    return tuple(answer_of(one.text, opened=one.opened) for one in samples)
