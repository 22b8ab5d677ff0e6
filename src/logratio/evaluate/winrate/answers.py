"""What models answer: drawn from them one after the other, or read from a file of answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config import DataPart
from ...data.containers import BadRow
from ...data.prepare import tokenize_prompts
from ...data.problems import Unreadable
from ...data.read import rows
from ...data.schema import PROMPTS, Row
from ...errors import DataError, RunError
from ...files import content_hash
from ...logps.subject import Subject, opened, subject_of
from ...models.load import Loaded, stored_fingerprint
from ...records import Origin, Prompt
from ...rollout.generate import context, generate, plainly, stop_tokens
from ...rollout.judge import opens_thought, thought_and_answer
from .kept import Kept
from .questions import Question, as_json

RESPONSES = ("responses", "response", "completion", "output", "answer", "text")
"""Fields under which a file of answers may hold them: one text, or a list of texts."""

_TOLD = ("model", "generator", "step", "temperature")
"""Fields that tell whose answers a row holds: they are the same in all rows of a file."""

_CHUNK = 64
"""Prompts that are answered between two writes to disk."""

_SUFFIXES = (".jsonl", ".json", ".csv", ".parquet", ".gz")


@dataclass(frozen=True)
class Answer:
    """What a model answered.

    Attributes:
        text: The answer as a judge sees it: what follows its thought.
        whole: All of the response, special tokens removed.
        tokens: Its length with the thought; None where it was read from a file.
        ended: Whether it ended by itself; None where that is not known.
    """

    text: str
    whole: str
    tokens: int | None = None
    ended: bool | None = None


@dataclass(frozen=True)
class Settings:
    """How answers are drawn.

    Attributes:
        k: Answers a prompt, ≥ 1.
        temperature: ≥ 0; 0 takes the likeliest token.
        max_new_tokens: Length limit of an answer.
        seed: Of the draws.
    """

    k: int = 1
    temperature: float = 1.0
    max_new_tokens: int = 128
    seed: int = 0

    @property
    def drawn(self) -> int:
        """How many answers to draw: at temperature 0 all k would be the same."""
        return self.k if self.temperature > 0 else 1


@dataclass(frozen=True)
class Contender:
    """Something that answers.

    Attributes:
        name: What to call it, different from the others' names.
        source: A model, or a file of answers.
    """

    name: str
    source: Subject | Path


def contenders(models: Sequence[Any], tokenizer: Any = None) -> list[Contender]:
    """Return what answers: each a run, a folder or hub name, a model in memory, or a file of answers.

    Raises:
        RunError: A reward model, or a run without a model.
    """
    found: list[Contender] = []
    seen: Counter[str] = Counter()
    for model in models:
        file = Path(model) if isinstance(model, (str, Path)) else None
        if file is not None and file.is_file() and file.suffix in _SUFFIXES:
            source: Subject | Path = file
            name = str(model)
        else:
            source = subject_of(model, tokenizer)
            if source.head == "score":
                raise RunError(
                    f"{source.name} is a reward model, which scores and does not answer; it can be the judge: --judge."
                )
            name = str(model).rstrip("/") if file is not None else source.name
        seen[name] += 1
        found.append(Contender(name if seen[name] == 1 else f"{name} ({seen[name]})", source))
    return found


def require_answers(contender: Contender, questions: Sequence[Question]) -> None:
    """Refuse one that cannot answer, before anything is drawn or written.

    Raises:
        LogratioError: There is no such model, or a file lacks the answer to a question.
    """
    if isinstance(contender.source, Path):
        _read(contender.source, questions)
    else:
        _weights(contender.source)


def answers(
    contender: Contender,
    questions: Sequence[Question],
    settings: Settings,
    kept: Kept,
    say: Callable[[str], None] = lambda line: None,
) -> list[list[Answer]]:
    """Return the answers to each question, `settings.drawn` of a model or as many as a file holds.

    What a model draws depends on the seed, its weights, the prompt and the number of the answer, so that it is the
    same whatever it is compared with; two models draw independently. What is kept already is not drawn again.

    Args:
        contender: Who answers.
        questions: What is asked.
        settings: How answers are drawn.
        kept: Where they are kept.
        say: Told what is being done.

    Raises:
        LogratioError: The model cannot be read, or a file lacks the answer to a question.
    """
    if isinstance(contender.source, Path):
        return _read(contender.source, questions)
    keys = _keys(contender.source, questions, settings)
    missing = [i for i, own in enumerate(keys) if any(key not in kept for key in own)]
    if missing:
        for chunk in _draw(contender.source, [questions[i] for i in missing], settings, say, contender.name):
            at, missing = missing[: len(chunk)], missing[len(chunk) :]
            about = {"model": contender.name, "temperature": settings.temperature}
            kept.add(
                {"key": key, **about, "prompt": as_json(questions[i].prompt.prompt), "index": j, **row}
                for i, own in zip(at, chunk, strict=True)
                for j, (key, row) in enumerate(zip(keys[i], own, strict=True))
            )
    return [[_answer(kept[key]) for key in own] for own in keys]


def _keys(subject: Subject, questions: Sequence[Question], settings: Settings) -> list[list[str]]:
    weights = _weights(subject)
    how = [weights, subject.template.model_dump(), settings.temperature, settings.max_new_tokens, settings.seed]
    return [[content_hash(how, question.key, j) for j in range(settings.drawn)] for question in questions]


def _weights(subject: Subject) -> str:
    return stored_fingerprint(subject.source) if isinstance(subject.source, str) else subject.source.fingerprint


def _draw(
    subject: Subject, questions: Sequence[Question], settings: Settings, say: Callable[[str], None], name: str
) -> Iterator[list[list[dict[str, Any]]]]:
    """Yield rows text, tokens, ended of each answer, some prompts at a time; the model is freed afterwards."""
    seed = int(content_hash(settings.seed, _weights(subject))[:12], 16)
    say(f"{name}: loading")
    with opened(subject.source) as (own, _):
        date = subject.manifest.get("date")
        prompts = [question.prompt for question in questions]
        ids = tokenize_prompts(prompts, tokenizer=own.tokenizer, template=subject.template, date=date)
        _require_room(own, prompts, ids, settings.max_new_tokens)
        slower = plainly(own.model, ids, settings.max_new_tokens)
        if slower is not None:
            say(f"{name}: {slower}")
        stops = stop_tokens(own.model, own.tokenizer)
        for start in range(0, len(ids), _CHUNK):
            say(f"{name}: {start} of {len(ids)} prompts answered")
            drawn = generate(
                own.model,
                ids[start : start + _CHUNK],
                k=settings.drawn,
                max_new_tokens=settings.max_new_tokens,
                stop_ids=stops,
                temperature=settings.temperature,
                seed=seed,
            )
            yield [[_row(own, prompt, sample) for sample in samples] for prompt, samples in _beside(ids, start, drawn)]


def _require_room(own: Loaded, prompts: Sequence[Prompt], ids: Sequence[Any], room: int) -> None:
    limit = context(own.model)
    for prompt, tokens in zip(prompts, ids, strict=True):
        if limit is not None and len(tokens) + room > limit:
            raise DataError(
                f"{prompt.origin}: the prompt has {len(tokens)} tokens and its answer may have {room}, but {own.name} "
                f"knows {limit} positions; lower --max-new-tokens, or leave that prompt out."
            )


def _beside(ids: Sequence[Any], start: int, drawn: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(ids[start : start + len(drawn)], drawn, strict=True)


def _row(own: Loaded, prompt: Any, sample: Any) -> dict[str, Any]:
    """Return an answer as it is kept: its text without what ended it, which is not always a special token."""
    said = sample.tokens[:-1] if sample.ended else sample.tokens
    return {
        "text": own.tokenizer.decode(said.tolist(), skip_special_tokens=True),
        "tokens": len(sample.tokens),
        "ended": bool(sample.ended),
        **({"thought_opened": True} if opens_thought(prompt, own.tokenizer) else {}),
    }


def _answer(row: Mapping[str, Any]) -> Answer:
    _, said = thought_and_answer(row["text"], opened=bool(row.get("thought_opened")))
    return Answer(said, row["text"], row["tokens"], row["ended"])


def _read(file: Path, questions: Sequence[Question]) -> list[list[Answer]]:
    found: dict[str, list[Answer]] = {}
    told: dict[tuple[str, ...], Origin] = {}
    for item in rows(DataPart(path=str(file))):
        if isinstance(item, BadRow):
            raise DataError(f"{item.origin} {item.reason}; mend that row or leave it out.")
        key, own = _given(*item)
        found.setdefault(key, []).extend(own)
        told.setdefault(tuple(str(item[0][name]) for name in _TOLD if name in item[0]), item[1])
    if len(told) > 1:
        (first, _), (other, origin) = list(told.items())[:2]
        others, before = (" · ".join(own) or "nobody" for own in (other, first))
        raise DataError(
            f"{origin} is of {others} and rows before it of {before}, but a file of answers is one model's; split it."
        )
    absent = [question for question in questions if question.key not in found]
    if absent:
        raise DataError(
            f"{file} answers {len(questions) - len(absent)} of {len(questions)} prompts, and not that of "
            f"{absent[0].prompt.origin}; its `prompt` must be the same text or messages."
        )
    return [found[question.key] for question in questions]


def _given(values: Mapping[str, Any], origin: Origin) -> tuple[str, list[Answer]]:
    row = Row(values, origin)
    try:
        prompt = Prompt(prompt=row.prompt(), tools=row.tools(), origin=origin)
    except Unreadable as problem:
        raise DataError(f"{origin}: {problem}; a row of answers needs `prompt` ({', '.join(PROMPTS)}).") from None
    name = next((field for field in RESPONSES if row.has(field)), None)
    texts = [] if name is None else values[name] if isinstance(values[name], list) else [values[name]]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise DataError(
            f"{origin} has no answer that is text or a list of texts; name it by one of: {', '.join(RESPONSES)}."
        )
    tokens, ended = values.get("tokens"), values.get("ended")
    known = (tokens if isinstance(tokens, int) else None, ended if isinstance(ended, bool) else None)
    opened_thought = bool(values.get("thought_opened"))
    return Question(prompt).key, [
        Answer(thought_and_answer(text, opened=opened_thought)[1], text, *known) for text in texts
    ]
