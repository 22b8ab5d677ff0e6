"""Prompts of a file, and a model's responses to them as rows: what people, judges and later rounds start from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby
from typing import Any

from ..config import DataPart
from ..data.containers import BadRow, Item
from ..data.formats import sniff
from ..data.prepare import tokenize_prompts
from ..data.problems import RowProblem
from ..data.read import rows
from ..data.schema import PROMPTS, Row
from ..data.source import SAMPLE
from ..errors import DataError, RunError
from ..logps.subject import Subject, opened, subject_of
from ..models.dropout import returns_dropout
from ..records import Origin, Prompt, Text
from ..rollout.generate import generate, plainly, stop_tokens
from ..rollout.judge import opens_thought

_JUDGED = (  # what rows of our own and of known data sets hold of responses and of verdicts on them
    *("chosen", "rejected", "completion", "response", "output", "messages", "conversations", "label", "labels"),
    *("responses", "models", "tokens", "ended", "scores", "ranks", "comparisons", "drawn", "worst", "best"),
    *("usage", "prompt_tokens", "sampled", "rival", "both_bad", "failed", "replaced", "thoughts"),
    *("response_a", "response_b", "model_a", "model_b", "winner", "annotator", "task", "seconds", "judged"),
    *("response1", "response2", "response_1", "response_2", "preference_strength", "overall_preference"),
    *("conversation_a", "conversation_b", "human_ref_A", "human_ref_B", "summaries", "choice"),
)


@dataclass(frozen=True)
class Question:
    """A prompt of a file.

    Attributes:
        record: The prompt.
        others: The row's other fields, what it holds of responses apart.
    """

    record: Prompt
    others: Mapping[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> dict[str, Any]:
        """The row as JSON, without responses."""
        tools = {"tools": [dict(tool) for tool in self.record.tools]} if self.record.tools else {}
        return {"prompt": as_json(self.record.prompt), **tools, **self.others}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sample.

    Attributes:
        text: Without special tokens.
        tokens: How many it has.
        ended: Whether it ended by itself.
        opened: Whether its prompt opened a thought, with which the text then begins.
    """

    text: str
    tokens: int
    ended: bool
    opened: bool = False


def as_json(text: Text) -> str | list[dict[str, Any]]:
    """Return text as JSON holds it."""
    return text if isinstance(text, str) else [dict(turn) for turn in text]


def read_questions(parts: Sequence[DataPart]) -> list[Question]:
    """Return the prompts of data of any format, each once, in order; the responses beside them are not read.

    Raises:
        DataError: A row without a prompt that can be read, or no row.
    """
    found: dict[str, Question] = {}
    items = chain.from_iterable([rows(part) for part in parts])
    for _, own in groupby(items, key=_file):
        for question in _questions(list(own)):
            found.setdefault(repr((question.record.prompt, question.record.tools)), question)
    if not found:
        raise DataError(f"{', '.join(part.path for part in parts)} holds no prompt; bring rows with `prompt`.")
    return list(found.values())


def _file(item: Item) -> str:
    return (item.origin if isinstance(item, BadRow) else item[1]).file


def _questions(items: Sequence[Item]) -> Iterator[Question]:
    entry = None
    for item in items:
        if isinstance(item, BadRow):
            raise DataError(f"{item.origin}: {item.reason}")
        row = Row(*item)
        try:
            if any(map(row.has, PROMPTS)):
                prompt, tools = row.prompt(), row.tools()
            else:
                entry = entry or sniff([Row(*one) for one in items[:SAMPLE] if not isinstance(one, BadRow)])
                record = entry.build(row)
                prompt, tools = record.prompt, record.tools
        except RowProblem as problem:
            raise DataError(f"{row.origin}: {problem}") from problem
        left = {*PROMPTS, *_JUDGED, "system", "tools"}
        others = {name: value for name, value in row.values.items() if name not in left}
        yield Question(Prompt(prompt=prompt, tools=tools, origin=row.origin), others)


def asked(prompts: Sequence[Text]) -> list[Question]:
    """Return prompts that stand in no file."""
    return [Question(Prompt(prompt=prompt, origin=Origin("prompts", n))) for n, prompt in enumerate(prompts, 1)]


@returns_dropout
def draw(
    run_or_model: Any,
    questions: Sequence[Question],
    *,
    tokenizer: Any = None,
    k: int = 1,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    seed: int = 0,
    tell: Callable[[str], None] = lambda text: None,
) -> list[list[Drawn]]:
    """Return k responses of a model to every prompt.

    Args:
        run_or_model: A run directory, a model's folder or hub name, or a loaded model.
        questions: The prompts.
        tokenizer: For a model in memory.
        k: Samples a prompt, ≥ 1.
        max_new_tokens: Length limit of a response.
        temperature: ≥ 0; 0 takes the likeliest token.
        seed: Of the samples.
        tell: Told, in a sentence, where a prompt cannot be encoded once for its samples.

    Raises:
        RunError: A reward model, which does not generate.
    """
    subject = generating(run_or_model, tokenizer)
    with opened(subject.source) as (own, _):
        ids = tokenize_prompts(
            [question.record for question in questions],
            tokenizer=own.tokenizer,
            template=subject.template,
            date=subject.manifest.get("date"),
        )
        why = plainly(own.model, ids, max_new_tokens)
        if why is not None:
            tell(why)
        drawn = generate(
            own.model,
            ids,
            k=k,
            max_new_tokens=max_new_tokens,
            stop_ids=stop_tokens(own.model, own.tokenizer),
            temperature=temperature,
            seed=seed,
        )
        opened_P = [opens_thought(prompt, own.tokenizer) for prompt in ids]
        decode = partial(own.tokenizer.decode, skip_special_tokens=True)
        return [
            [Drawn(decode(one.tokens.tolist()), len(one.tokens), bool(one.ended), thought) for one in samples]
            for thought, samples in zip(opened_P, drawn, strict=True)
        ]


def generating(run_or_model: Any, tokenizer: Any = None) -> Subject:
    """Return what is to be sampled.

    Raises:
        RunError: It is a reward model.
    """
    subject = subject_of(run_or_model, tokenizer)
    if subject.head == "score":
        raise RunError(
            f"{subject.name} is a reward model, which scores responses and does not generate; measure it with: "
            "logratio eval RUN --data FILE."
        )
    return subject


def rows_of(
    questions: Sequence[Question], models: Sequence[str], drawn: Sequence[Sequence[Sequence[Drawn]]]
) -> list[dict[str, Any]]:
    """Return one row a prompt: its own fields, `responses`, and beside each the model, its tokens and whether it ended.

    Args:
        questions: The prompts.
        models: Names.
        drawn: Of each model, the samples of every prompt.
    """
    found = []
    for n, question in enumerate(questions):
        own = [(name, one) for name, samples in zip(models, drawn, strict=True) for one in samples[n]]
        found.append(
            {
                **question.row,
                "responses": [one.text for _, one in own],
                "models": [name for name, _ in own],
                "tokens": [one.tokens for _, one in own],
                "ended": [one.ended for _, one in own],
            }
        )
    return found
