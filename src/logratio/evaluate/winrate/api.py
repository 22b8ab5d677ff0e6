"""`winrate`: models, prompts and a judge → who is preferred, how surely, and what speaks against believing it."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ConfigError
from ...files import write_json, write_rows
from ...maths.intervals import Measure, mean_interval, share_interval
from ...models.dropout import returns_dropout
from ...rollout.judge import Judge, OnFailure
from .answers import Answer, Contender, Settings, answers, contenders, require_answers
from .judging import Outcome, duels, outcomes
from .kept import Kept
from .questions import Question, as_json, categories, numbers, read_questions
from .ranking import cycles, ranking
from .rates import figures

Say = Callable[[str], None]

CATEGORY = "category"
"""Field of the prompts that the table by category reads unless another is named."""

ANSWERS, JUDGEMENTS, DUELS, RESULT = "answers.jsonl", "judgements.jsonl", "duels.jsonl", "winrate.json"
"""Files of an output folder: what models said, what the judge said, both side by side, and the figures."""


@dataclass(frozen=True)
class Fields:
    """What is read of the prompts' rows beside the prompts.

    Attributes:
        category: Name of the field by which rates are told apart, or None.
        kinds: Its value in each row; None of one that has none.
        difficulty: Name of the field to control for, or None.
        levels: Its value in each row, or None.
    """

    category: str | None
    kinds: Sequence[str | None]
    difficulty: str | None
    levels: Sequence[float] | None

    @classmethod
    def of(cls, questions: Sequence[Question], category: str | None, difficulty: str | None) -> Fields:
        """Read them.

        Raises:
            DataError: A row lacks them.
        """
        levels = None if difficulty is None else numbers(questions, difficulty)
        return cls(category, categories(questions, category), difficulty, levels)


@dataclass(frozen=True)
class Contest:
    """What is compared, and how.

    Attributes:
        entrants: Who answers.
        questions: What is asked.
        fields: What else their rows say.
        settings: How answers are drawn.
        judge: Who judges.
        stop: Whether a judge's failure stops.
    """

    entrants: Sequence[Contender]
    questions: Sequence[Question]
    fields: Fields
    settings: Settings
    judge: Judge
    stop: bool

    def at(self, temperature: float) -> Contest:
        """Return the same at another temperature."""
        return replace(self, settings=replace(self.settings, temperature=temperature))


@returns_dropout
def winrate(
    models: Sequence[Any],
    prompts: str | Path | Iterable[Mapping[str, Any] | str],
    judge: Judge,
    *,
    out: str | Path,
    tokenizer: Any = None,
    k: int = 1,
    temperature: float | Sequence[float] = 1.0,
    max_new_tokens: int = 128,
    limit: int | None = None,
    by: str | None = None,
    difficulty: str | None = None,
    on_failure: OnFailure = "skip",
    seed: int = 0,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Let models answer prompts, have every two compared, and say who is preferred.

    Run again with the same `out` it draws and asks only for what is not there.

    Args:
        models: Two or more: a run, a folder or hub name, a model in memory, or a file of answers.
        prompts: A file, folder or hub name, rows with a prompt, or texts.
        judge: Who judges.
        out: Folder for answers, judgements and figures.
        tokenizer: For models in memory.
        k: Answers a prompt.
        temperature: At which answers are drawn; several compare the models at each.
        max_new_tokens: Length limit of an answer.
        limit: Take the first so many prompts.
        by: Field of the prompts by which rates are told apart; default "category" where a prompt has that.
        difficulty: Field of the prompts to control for beside length, a number.
        on_failure: Of the judge: "skip" leaves such pairs out and counts them, "stop" raises.
        seed: Of answers and intervals.
        say: Told what is being done.

    Returns:
        JSON-able: models, judge, settings, usage, and under `at` for each temperature the models' answers, every two
        models' `figures`, the ranking and its cycles.

    Raises:
        LogratioError: What is asked for is missing or contradictory, or the judge failed; one sentence each.
    """
    heats = [float(temperature)] if isinstance(temperature, (int, float)) else [float(own) for own in temperature]
    entrants = contenders(models, tokenizer)
    _check(entrants, heats, k)
    questions = read_questions(prompts, limit)
    by = by or (CATEGORY if any(CATEGORY in question.row for question in questions) else None)
    fields = Fields.of(questions, by, difficulty)
    settings = Settings(k, heats[0], max_new_tokens, seed)
    contest = Contest(entrants, questions, fields, settings, judge, on_failure == "stop")
    for entrant in entrants:
        require_answers(entrant, questions)
    folder = Path(out)
    with Kept(folder / ANSWERS) as said, Kept(folder / JUDGEMENTS) as judged:
        found = [_at(contest.at(heat), said, judged, say) for heat in heats]
        usage = _usage(judged, judge)
    result = {**_about(contest), "usage": usage, "at": [own for own, _ in found]}
    write_rows(
        folder / DUELS,
        [_shown(contest.at(heat), one) for heat, (_, own) in zip(heats, found, strict=True) for one in own],
    )
    write_json(folder / RESULT, result)
    return result


def _check(entrants: Sequence[Contender], heats: Sequence[float], k: int) -> None:
    if len(entrants) < 2:
        raise ConfigError(
            f"{len(entrants)} model{'s' * (len(entrants) != 1)} given, and a win rate is of one over another; give two "
            "or more, as: logratio winrate A B --prompts FILE --judge J"
        )
    if k < 1:
        raise ConfigError(f"k is {k} but must be at least 1, or nothing is compared; raise it.")
    if not heats or len(set(heats)) < len(heats):
        raise ConfigError(f"temperature is {', '.join(map(str, heats)) or 'empty'}; give each temperature once.")
    if len(heats) > 1 and all(isinstance(entrant.source, Path) for entrant in entrants):
        raise ConfigError(
            f"{len(heats)} temperatures given, but all answers are read from files, which do not change with it; "
            "leave --temperature out."
        )


def _about(contest: Contest) -> dict[str, Any]:
    """Return what was compared, and how."""
    settings = contest.settings
    return {
        "models": [entrant.name for entrant in contest.entrants],
        "judge": contest.judge.description,
        "prompts": len(contest.questions),
        "category": contest.fields.category,
        "difficulty": contest.fields.difficulty,
        "settings": {"k": settings.k, "max_new_tokens": settings.max_new_tokens, "seed": settings.seed},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "version": version("logratio"),
    }


def _at(contest: Contest, said: Kept, judged: Kept, say: Say) -> tuple[dict[str, Any], list[Outcome]]:
    """Return the document at one temperature, and the outcomes behind it."""
    given = [answers(own, contest.questions, contest.settings, said, say) for own in contest.entrants]
    found = outcomes(duels(given), contest.questions, contest.judge, judged, stop=contest.stop, say=say)
    hashes = [question.key for question in contest.questions]
    names = [entrant.name for entrant in contest.entrants]
    pairs, rates = [], {}
    for a, b in combinations(range(len(names)), 2):
        own = [one for one in found if (one.duel.a, one.duel.b) == (a, b)]
        told = figures(
            own, hashes, kinds=contest.fields.kinds, difficulty=contest.fields.levels, seed=contest.settings.seed
        )
        rates[a, b] = Measure(**{name: told["rate"][name] for name in ("mean", "low", "high", "n", "se")})
        pairs.append({"a": names[a], "b": names[b], **told})
    document = {
        "temperature": contest.settings.temperature,
        "models": [_answered(entrant, own) for entrant, own in zip(contest.entrants, given, strict=True)],
        "pairs": pairs,
        **_ranked(found, hashes, names, contest.settings.seed),
        "cycles": [{"models": [names[i] for i in cycle.models], "sure": cycle.sure} for cycle in cycles(rates)],
    }
    return document, found


def _ranked(found: Sequence[Outcome], hashes: Sequence[str], names: Sequence[str], seed: int) -> dict[str, Any]:
    known = [(one, one.value) for one in found if one.value is not None]
    places, misfit = ranking(
        len(names),
        np.array([[one.duel.a, one.duel.b] for one, _ in known]),
        np.array([value for _, value in known]),
        [hashes[one.duel.question] for one, _ in known],
        seed,
    )
    return {"ranking": [{"model": names[own.model], **own.to_json()} for own in places], "misfit": misfit}


def _answered(entrant: Contender, given: Sequence[Sequence[Answer]]) -> dict[str, Any]:
    """Return what a model's answers are like; thoughts are measured where there are any."""
    own = [(i, one) for i, some in enumerate(given) for one in some]

    def mean(values: Sequence[tuple[int, float]]) -> dict[str, Any]:
        return mean_interval([value for _, value in values], None, [i for i, _ in values] or None).to_json()

    thoughts = [(i, float(len(one.whole) - len(one.text))) for i, one in own]
    ended = [(i, float(one.ended)) for i, one in own if one.ended is not None]
    return {
        "model": entrant.name,
        "file": isinstance(entrant.source, Path),
        "characters": mean([(i, float(len(one.text))) for i, one in own]),
        "thought_characters": mean(thoughts) if any(value for _, value in thoughts) else None,
        "tokens": mean([(i, float(one.tokens)) for i, one in own if one.tokens is not None]),
        "ended": share_interval([value for _, value in ended], [i for i, _ in ended] or None).to_json(),
        "empty": sum(not one.text.strip() for _, one in own),
    }


def _shown(contest: Contest, one: Outcome) -> dict[str, Any]:
    """Return a duel as a row of its own, its two answers beside each other."""
    duel = one.duel
    return {
        "prompt": as_json(contest.questions[duel.question].prompt.prompt),
        "origin": str(contest.questions[duel.question].prompt.origin),
        "category": contest.fields.kinds[duel.question],
        "temperature": contest.settings.temperature,
        "index": duel.index,
        "a": contest.entrants[duel.a].name,
        "b": contest.entrants[duel.b].name,
        "answer_a": duel.first.text,
        "answer_b": duel.second.text,
        "value": one.value,
        "forward": one.forward,
        "backward": one.backward,
        "flipped": one.flipped,
        "both_bad": one.both_bad,
        "same": duel.same,
        "failed": one.failed,
    }


def _usage(judged: Kept, judge: Judge) -> dict[str, float]:
    total: dict[str, float] = {}
    for key in judged:
        if judged[key].get("judge") == judge.description:
            for name, value in judged[key]["usage"].items():
                total[name] = total.get(name, 0.0) + value
    return total
