"""`logratio eval --judge`: a judge on responses that are there already."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..config import JudgeConfig
from ..errors import ConfigError
from .measures import cells


def judged(
    judge: str, beside: str | None, data: Sequence[str], scores: str | None, *, normalise: bool, as_json: bool
) -> None:
    """Let a judge, and a run beside it, judge the responses of data; show how often each agrees with its preferences.

    Args:
        judge: As `--judge` names it.
        beside: A run or reward model that judges the same responses.
        data: Files with responses.
        scores: File for the verdicts.
        normalise: Store the mean score of these responses as a reward model's offset, and do no more.
        as_json: JSON alone on standard output.

    Raises:
        ConfigError: Options that do not go together.
        LogratioError: As `evaluate_judges`.
    """
    from ..evaluate.judged import evaluate_judges
    from ..rollout.judges import judge_named, open_judge

    judges = [open_judge(judge_named(judge))]
    if normalise:
        if beside is not None or scores is not None:
            raise ConfigError("--normalise sets an offset and judges nothing; leave RUN_OR_MODEL and --scores out.")
        _normalise(judges[0], data, as_json)
        return
    if beside is not None:
        judges.append(open_judge(JudgeConfig(reward_model=beside)))
    progress = Console(stderr=True, highlight=False, markup=False)

    def tell(count: int) -> None:
        if progress.is_terminal:
            progress.print(f"judged: {count:,}", end="\r")

    result = evaluate_judges(judges, list(data), None if scores is None else Path(scores), tell=tell)
    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _show(result, scores)


def _normalise(judge: Any, data: Sequence[str], as_json: bool) -> None:
    from ..evaluate.answered import read_answered
    from ..rollout.judges.reward_model import OFFSET, RewardModelJudge

    if not isinstance(judge, RewardModelJudge):
        raise ConfigError(
            f"--normalise takes an offset off a reward model's scores, and {judge.description} is none; leave it "
            "out, or name a reward model with --judge."
        )
    offset = judge.normalise([one.asked for one in read_answered(list(data), Counter())], ", ".join(data))
    if as_json:
        print(json.dumps({"offset": offset}))
    else:
        print(f"offset {offset:.6g}, written as {OFFSET} beside the model: scores of these responses now average 0")


def _show(result: Mapping[str, Any], scores: str | None) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    left_out = "".join(f", {count:,} left out: {why}" for why, count in result["rows"]["left_out"].items())
    console.print(f"{result['rows']['judged']:,} prompts with responses{left_out}\n")
    for told in result["judges"]:
        console.print(f"judge: {told['description']}")
        if told["failed"]:
            console.print(f"no verdict on {told['failed']:,} prompts; the same command asks for them again")
        used = ", ".join(f"{name} {value:g}" for name, value in told["usage"].items() if value)
        if used:
            console.print(f"usage: {used}")
        table = _table()
        for name in ("accuracy", "length_baseline", "ties"):
            if told[name]["n"]:
                table.add_row(name, *cells(told[name]))
        console.print(table if table.row_count else "the data prefers no response to another, so nothing is compared")
        if table.row_count:
            console.print(f"length_baseline judges by length alone: {told['length_rule']}.")
        console.print()
    if "difference" in result and result["difference"]["n"]:
        table = _table()
        table.add_row("first minus second judge's accuracy", *cells(result["difference"]))
        console.print(table)
    if scores is not None:
        console.print(f"verdicts: {scores}")


def _table() -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("measure")
    for title in ("mean", "95 % interval", "n"):
        table.add_column(title, justify="right")
    return table
