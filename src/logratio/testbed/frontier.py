"""The built-in world as a place for a frontier study: its files, and its true reward as a judge."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ..files import atomic_path, read_rows
from .build import Say, build
from .grammar import grammar
from .lexicon import Size
from .reward import Reward


def study_folder(size: Size, seed: int, *, say: Say = lambda line: None) -> Path:
    """Return the folder that a study calls `world/`, made if it is not there.

    Beside what every world has (`model/`, `preferences.jsonl`, `eval.jsonl`) it holds `prompts.jsonl`, the prompts of
    the preferences alone, for methods that draw their own responses, and `held_out_prompts.jsonl`.
    """
    built = build(size, seed, say=say)
    for name, source in (("prompts", "train"), ("held_out_prompts", "held_out")):
        target = built.folder / f"{name}.jsonl"
        if not target.is_file():
            prompts = [row["prompt"] for row in read_rows(built.folder / f"{source}.jsonl")]
            with atomic_path(target) as temporary:
                lines = [json.dumps({"prompt": prompt}, ensure_ascii=False) + "\n" for prompt in prompts]
                temporary.write_text("".join(lines), encoding="utf-8")
    return built.folder


def nano(prompts: Sequence[str], responses: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return r* of each prompt with its response, in the nano world: a judge, `logratio.testbed.frontier:nano`."""
    return _rewards("nano", prompts, responses)


def small(prompts: Sequence[str], responses: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return r* of each prompt with its response, in the small world."""
    return _rewards("small", prompts, responses)


def _rewards(size: Size, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    return [_reward(size)(prompt + response) for prompt, response in zip(prompts, responses, strict=True)]


@cache
def _reward(size: Size) -> Reward:
    return Reward(grammar(size))
