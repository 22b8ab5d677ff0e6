"""What `logratio sample` shows: the policy beside its reference on the same prompts, with the same random numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..batch.group import Ints
from ..data.prepare import tokenize_prompts
from ..errors import RunError
from ..files import read_rows
from ..logps.policy import Policy
from ..logps.subject import Subject, compare, subject_of
from ..models.dropout import returns_dropout
from ..models.load import Loaded
from ..records import Text
from ..rollout.generate import generate, plainly, stop_tokens

Texts = list[list[dict[str, Any]]]
"""For each prompt, its samples as {"text", "tokens", "ended"}."""


@returns_dropout
def side_by_side(
    run_or_model: Any,
    prompts: Sequence[Text] | None = None,
    *,
    tokenizer: Any = None,
    reference: Any = None,
    k: int = 1,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    seed: int = 0,
    tell: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Sample policy and reference on the same prompts.

    Both draw with the same random numbers, so that where the two distributions agree, so do the texts.

    Args:
        run_or_model: A run directory, a model's folder or hub name, or a loaded model.
        prompts: Texts or message lists; None takes the fixed prompts of the run.
        tokenizer: For a model in memory.
        reference: As in `evaluate`.
        k: Samples a prompt, ≥ 1.
        max_new_tokens: Length limit of a response.
        temperature: ≥ 0; 0 takes the likeliest token.
        seed: Of the samples.
        tell: Told, in a sentence, where the policy cannot encode a prompt once for its samples.

    Returns:
        One row a prompt: {"prompt", "policy", "reference"}; each side a list of k {"text", "tokens", "ended"}, the
        reference null where there is none.

    Raises:
        RunError: No prompts are given, and there is no run that has any; or a reward model, which does not generate.
    """
    subject = subject_of(run_or_model, tokenizer)
    if subject.head == "score":
        raise RunError(
            f"{subject.name} is a reward model, which scores responses and does not generate; measure it with: "
            "logratio eval RUN --data FILE."
        )
    settings = {"k": k, "max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}

    def of_policy(own: Loaded, _: Policy) -> tuple[list[Ints], list[str], Texts]:
        ids = _fixed(subject, own.tokenizer) if prompts is None else _given(subject, own.tokenizer, prompts)
        shown = [own.tokenizer.decode(prompt.tolist(), skip_special_tokens=False) for prompt in ids]
        why = plainly(own.model, ids, max_new_tokens)
        if why is not None:
            tell(why)
        return ids, shown, _texts(own, ids, settings)

    (_, shown, ours), theirs, _ = compare(
        subject, reference, of_policy, lambda seen, other, _: _texts(other, seen[0], settings)
    )
    return [
        {"prompt": prompt, "policy": ours[i], "reference": None if theirs is None else theirs[i]}
        for i, prompt in enumerate(shown)
    ]


def _texts(own: Loaded, prompts: Sequence[Ints], settings: Mapping[str, Any]) -> Texts:
    drawn = generate(own.model, prompts, stop_ids=stop_tokens(own.model, own.tokenizer), **settings)
    return [
        [
            {
                "text": own.tokenizer.decode(sample.tokens.tolist(), skip_special_tokens=True),
                "tokens": len(sample.tokens),
                "ended": sample.ended,
            }
            for sample in samples
        ]
        for samples in drawn
    ]


def _given(subject: Subject, tokenizer: Any, prompts: Sequence[Text]) -> list[Ints]:
    date = subject.manifest.get("date")
    return tokenize_prompts(prompts, tokenizer=tokenizer, template=subject.template, date=date)


def _fixed(subject: Subject, tokenizer: Any) -> list[Ints]:
    """Return the prompts that the run sampled at step 0, as it wrote them down: whole, special tokens included."""
    log = Path(subject.name).parent / "samples.jsonl"
    if subject.config is None or not log.is_file() or not log.stat().st_size:
        raise RunError(f"{subject.name} is no run that sampled prompts of its own; give some with --prompt.")
    rows = read_rows(log)
    encoder = tokenizer.backend_tokenizer
    return [
        np.array(encoder.encode(row["prompt"], add_special_tokens=False).ids, np.int32)
        for row in rows
        if row["step"] == rows[0]["step"]
    ]
