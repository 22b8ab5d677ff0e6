"""What `logratio sample --output` writes: samples of prompts, or of those to be judged next, or the best of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..config import DataPart, JudgeConfig
from ..errors import ConfigError
from ..evaluate.best import best
from ..evaluate.draw import Question, asked, draw, read_questions, rows_of
from ..evaluate.worst import By, worst
from ..files import write_rows
from ..rollout.judge import Judge
from ..rollout.judges import judge_named, open_judge


@dataclass(frozen=True)
class Pick:
    """Which prompts are picked: how many, by what, and who judges."""

    n: int
    by: By
    judges: Sequence[str]


def questions_of(prompts: Sequence[str] | None, data: Sequence[str] | None) -> list[Question]:
    """Return the prompts that were named."""
    if data:
        return read_questions([DataPart(path=path) for path in data])
    return asked(prompts or [])


def pick_of(
    n: int | None, by: Literal["judge", "margin", "disagreement"] | None, judges: Sequence[str] | None
) -> Pick | None:
    """Return what was asked for, None where all prompts are taken.

    Raises:
        ConfigError: A part of it is missing, or too much.
    """
    if n is None and (by or judges):
        raise ConfigError("--by and --judge say which prompts to pick, and --worst how many; give --worst N.")
    if n is None:
        return None
    if by is None:
        raise ConfigError("--worst needs to know which prompts come first; give --by margin, judge or disagreement.")
    given, right = len(judges or ()), {"judge": (1,), "margin": (0,), "disagreement": (1, 2)}[by]
    if given not in right:
        wants = {
            "judge": "one --judge",
            "margin": "no --judge, since the run's own implicit reward is what it reads",
            "disagreement": "--judge twice, or once beside the run's own implicit reward",
        }[by]
        raise ConfigError(f"--by {by} takes {wants}, and {given} are given; give that many.")
    return Pick(n, by, judges or ())


@dataclass(frozen=True)
class Wanted:
    """What the options choose for the file: the best sample of each prompt, or so many prompts by a rule."""

    best: bool
    worst: int | None
    by: By | None
    judges: Sequence[str]


def write(
    run_or_model: str,
    questions: Sequence[Question],
    out: Path,
    wanted: Wanted,
    k: int | None,
    settings: dict[str, Any],
    tell: Callable[[str], None],
) -> None:
    """Write a file of samples as the options want it; settings are those of `draw`, but for k.

    Raises:
        ConfigError: Options are missing, or do not go together.
    """
    if not wanted.best:
        pick = pick_of(wanted.worst, wanted.by, wanted.judges)
        write_picked(run_or_model, questions, out, pick, {"k": k or 2, **settings}, tell)
    elif wanted.worst or wanted.by:
        raise ConfigError("--best keeps responses and --worst picks prompts; keep one of them.")
    else:
        write_best(run_or_model, questions, out, wanted.judges, {"k": k or 4, **settings}, tell)


def write_picked(
    run_or_model: str,
    questions: Sequence[Question],
    out: Path,
    pick: Pick | None,
    settings: dict[str, Any],
    tell: Callable[[str], None],
) -> None:
    """Write one row a prompt with its samples; of picked prompts, with what they were picked by."""
    if not questions:
        raise ConfigError("--output needs prompts to write samples of; name them with --data FILE or --prompt TEXT.")
    if pick is None:
        rows = rows_of(questions, [run_or_model], [draw(run_or_model, questions, tell=tell, **settings)])
    else:
        with ExitStack() as stack:
            judges = [_opened(config, stack) for config in _judges(pick, run_or_model)]
            found = worst(run_or_model, questions, judges, by=pick.by, n=pick.n, tell=tell, **settings)
        picked = rows_of([one.question for one in found], [run_or_model], [[one.samples for one in found]])
        rows = [{**row, "worst": {pick.by: one.value}} for row, one in zip(picked, found, strict=True)]
        if len(rows) < pick.n:
            tell(f"only {len(rows):,} of {len(questions):,} prompts have samples that differ and a verdict on them")
    write_rows(out, rows)
    tell(
        f"{settings['k'] * len(rows):,} samples of {len(rows):,} prompts are in {out}; judge them with: "
        f"logratio label {out}"
    )


def write_best(
    run_or_model: str,
    questions: Sequence[Question],
    out: Path,
    judges: Sequence[str],
    settings: dict[str, Any],
    tell: Callable[[str], None],
) -> None:
    """Write one row a prompt with the response that a judge scores highest, as data of demonstrations."""
    if not questions:
        raise ConfigError("--best needs prompts to answer; name them with --data FILE or --prompt TEXT.")
    if len(judges) != 1:
        raise ConfigError(
            f"--best takes one --judge, who says which sample it is, and {len(judges)} are given; give one."
        )
    with ExitStack() as stack:
        found = best(run_or_model, questions, _opened(judge_named(judges[0]), stack), tell=tell, **settings)
    told = [{"of": settings["k"], "score": one.value} for one in found]
    rows = [
        {**one.question.row, "completion": one.samples[0].text, "best": its}
        for one, its in zip(found, told, strict=True)
    ]
    write_rows(out, rows)
    if len(rows) < len(questions):
        lost = len(questions) - len(rows)
        tell(f"the judge has no verdict on {lost:,} of {len(questions):,} prompts, which are left out")
    tell(
        f"the best of {settings['k']} samples of {len(rows):,} prompts are in {out}; imitate them with: "
        f"logratio train --objective sft --data {out}"
    )


def _judges(pick: Pick, run: str) -> list[JudgeConfig]:
    """Return the judges of a rule; the run's implicit reward takes the place of one that is not named."""
    named = [judge_named(text) for text in pick.judges]
    own = [JudgeConfig(implicit=run)] if pick.by != "judge" and len(named) < 2 else []
    return [*own, *named]


def _opened(config: JudgeConfig, stack: ExitStack) -> Judge:
    judge = open_judge(config)
    close = getattr(judge, "close", None)
    if close is not None:
        stack.callback(close)
    return judge
