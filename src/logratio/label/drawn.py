"""Responses drawn for judging, kept beside the judgements so that taking up the work again draws nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from ..config import DataPart
from ..errors import ConfigError
from ..evaluate.draw import draw, read_questions, rows_of
from ..files import write_rows


def drawn_file(
    models: Sequence[str],
    prompts: str,
    out: Path,
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    tell: Callable[[str], None],
) -> Path:
    """Return the file of responses that belongs to a file of judgements; they are drawn where it is absent.

    Args:
        models: Two models, one response of each to every prompt; or one, two responses.
        prompts: Data of any format; its responses are not read.
        out: The file of judgements.
        max_new_tokens: Length limit of a response.
        temperature: ≥ 0.
        seed: Of the samples.
        tell: Told, in sentences without a full stop, what is done.

    Raises:
        ConfigError: The file is there, and was drawn otherwise.
    """
    file = out.with_name(f"{out.stem}.samples.jsonl")
    settings = {
        "models": list(models),
        "prompts": prompts,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "seed": seed,
    }
    if file.is_file():
        with file.open(encoding="utf-8") as lines:
            first = json.loads(next(lines, "{}"))
        if first.get("drawn") != settings:
            raise ConfigError(
                f"{file} holds responses that were drawn otherwise, and judging others under one name would mix them; "
                "choose another --output, or remove that file."
            )
        tell(f"responses are those of {file}, drawn before")
        return file
    questions = read_questions([DataPart(path=prompts)])
    drawn = [
        draw(
            name,
            questions,
            k=2 // len(models),
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            tell=tell,
        )
        for name in models
    ]
    write_rows(file, ({**row, "drawn": settings} for row in rows_of(questions, models, drawn)))
    tell(f"responses to {len(questions):,} prompts are in {file}")
    return file
