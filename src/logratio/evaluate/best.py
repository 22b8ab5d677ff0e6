"""Best of N: of a prompt's samples the one that a judge scores highest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..rollout.judge import Judge
from .draw import Question, draw
from .worst import Picked, scored


def best(
    run_or_model: Any,
    questions: Sequence[Question],
    judge: Judge,
    *,
    k: int,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    seed: int = 0,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Picked]:
    """Draw k samples of every prompt and keep the one that a judge scores highest, the first of several.

    Its KL to the model is at most log k − (k−1)/k nats (Beirami et al. 2024, arXiv:2401.01879). Prompts that the judge
    has no verdict on are left out.

    Args:
        run_or_model: Who answers.
        questions: The prompts.
        judge: Who scores; of one that compares, the share of comparisons won.
        k: Samples a prompt, ≥ 2.
        max_new_tokens: Length limit of a sample.
        temperature: > 0, or all samples are one.
        seed: Of the samples.
        tell: Told of what is slow, in a sentence.

    Returns:
        Of each prompt with a verdict its best sample alone, and that one's score.

    Raises:
        ConfigError: There is nothing to choose among.
        JudgeError: A judge that stops where it fails did.
    """
    if k < 2 or temperature == 0:
        raise ConfigError(
            f"the best of {k} at temperature {temperature:g} is no choice, since all samples of a prompt are one; draw "
            "at least 2, at a temperature above 0."
        )
    drawn = draw(
        run_or_model, questions, k=k, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, tell=tell
    )
    scores = np.array(scored(judge, questions, drawn))
    known = np.flatnonzero(np.isfinite(scores).all(1)).tolist()
    first = scores.argmax(1).tolist()
    return [Picked(questions[i], [drawn[i][first[i]]], float(scores[i, first[i]])) for i in known]
