"""Real preference texts in the forms that are measured: rows as a person would bring them."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from logratio.data.problems import Unusable
from logratio.data.shared import shared_transcript

ENVIRONMENT = "LOGRATIO_BENCH_DATA"
RESPONSES = 8
LONG = 2048
"""Tokens that a prompt of `long` has, about; never more."""

SHORT = 64
"""Tokens that an answer of `long` has at most, and a prompt of `short`."""

Pair = tuple[str, str, str]
"""Prompt, chosen and rejected response."""

FORMS = {
    "hh": "real HH harmless pairs, one step a slice of 8",
    "short": "real HH harmless pairs with prompts below 64 tokens, 8 a step",
    "long": "prompts of about 2k tokens (HH dialogues laid end to end), short HH answers, 8 pairs a step",
    "k8": "8 HH responses to a prompt, the first against the 7 others: 1 prompt and 7 edges a step",
}
"""Name → what it is."""

GROUPS_A_STEP = {"hh": 8, "short": 8, "long": 8, "k8": 1}
PAIRS_A_STEP = {"hh": 8, "short": 8, "long": 8, "k8": RESPONSES - 1}


class DataMissing(Exception):
    """The real texts are not on this machine; says where they were looked for."""


def folder() -> Path:
    """Return the folder of real data: `$LOGRATIO_BENCH_DATA`, else `shared/data` beside the repository.

    Raises:
        DataMissing: It does not exist.
    """
    found = Path(os.environ.get(ENVIRONMENT) or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not (found / "hh-harmless").is_dir():
        raise DataMissing(f"{found}/hh-harmless does not exist; set {ENVIRONMENT} to the folder that holds it.")
    return found


def transcripts(split: str) -> list[dict[str, str]]:
    """Return HH's rows of a split, test or train."""
    with gzip.open(folder() / "hh-harmless" / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def usable_pairs() -> Iterator[Pair]:
    """Yield those pairs of the test split that share a prompt and have two answers to it, then those of training."""
    for split in ("test", "train"):
        for row in transcripts(split):
            try:
                prompt, (chosen, rejected) = shared_transcript((row["chosen"], row["rejected"]))
            except Unusable:
                continue
            yield str(prompt), str(chosen), str(rejected)


def rows(form: str, groups: int, tokenizer: Any) -> list[dict[str, Any]]:
    """Return rows of a form.

    Args:
        form: hh, short, long or k8.
        groups: How many prompts.
        tokenizer: Counts the tokens of short and long prompts.
    """
    if form in ("hh", "short"):
        pairs = usable_pairs()
        if form == "short":
            pairs = (pair for pair in pairs if _count(pair[0], tokenizer) < SHORT)
        made = [_pair(*pair) for pair in islice(pairs, groups)]
        if len(made) < groups:
            raise DataMissing(f"{form} has {len(made)} pairs, and {groups} are asked for; take fewer steps.")
    elif form == "k8":
        made = _ranked(list(usable_pairs()), groups)
    else:
        made = _long(list(usable_pairs()), groups, tokenizer)
    return made


def _pair(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _count(text: str, tokenizer: Any) -> int:
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _ranked(pairs: Sequence[Pair], groups: int) -> list[dict[str, Any]]:
    """Give each prompt its own two responses and those of the next three prompts: the first is best, the rest equal."""
    made = []
    for index in range(groups):
        near = pairs[index : index + RESPONSES]
        borrowed = [text for _, chosen, rejected in near for text in (chosen, rejected)]
        responses = list(dict.fromkeys(borrowed))[:RESPONSES]
        made.append({"prompt": pairs[index][0], "responses": responses, "scores": [1] + [0] * (RESPONSES - 1)})
    return made


def _long(pairs: Sequence[Pair], groups: int, tokenizer: Any) -> list[dict[str, Any]]:
    """Put whole dialogues before a prompt until one more would exceed `LONG` tokens; take pairs with short answers."""
    short = [pair for pair in pairs if max(_count(pair[1], tokenizer), _count(pair[2], tokenizer)) < SHORT]
    before, made = iter([prompt + chosen for prompt, chosen, _ in pairs] * 8), []
    for prompt, chosen, rejected in short[:groups]:
        while (text := next(before)) and _count(text + prompt, tokenizer) < LONG:
            prompt = text + prompt
        made.append(_pair(prompt, chosen, rejected))
    return made
