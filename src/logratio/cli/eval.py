"""`logratio eval`: a run or model measured on preference data, for a person or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.types import NonNegativeInt, PositiveFloat, PositiveInt
from rich.console import Console
from rich.table import Table

from ..errors import ConfigError
from .judged import judged
from .measures import cells

_JUDGE = (
    "Judge the data's responses in place of measuring a model: module:function, file.py:function, the folder of a "
    "reward model or run, or a YAML file with the keys of `judge`. RUN_OR_MODEL, if given, judges beside it."
)
_DATA = "Files to measure on; give the option again for more."
_TASKS = (
    "In place of data: tasks of lm-evaluation-harness, or YAML files of one's own, with commas between them. What is "
    "found of a run is kept in its evaluation.json. Needs the extra `tasks`."
)
_NORMALISE = (
    "With --judge: the data's responses are the reference's; let a reward model's scores of them average 0 from now on."
)


def run(
    run_or_model: Annotated[
        str | None, Parameter(name="RUN_OR_MODEL", help="A run directory, model folder or hub name.")
    ] = None,
    /,
    *,
    data: Annotated[list[str] | None, Parameter(help=_DATA)] = None,
    tasks: Annotated[str | None, Parameter(help=_TASKS)] = None,
    limit: Annotated[PositiveInt | None, Parameter(help="With --tasks: documents of each; default: all.")] = None,
    reference: Annotated[str | None, Parameter(help="start, base, a folder or hub name; default: the run's.")] = None,
    retain: Annotated[str | None, Parameter(help="Texts that should not get worse: loss before and after.")] = None,
    kind: Annotated[
        Literal["pairs", "rankings", "labels", "demonstrations"] | None,
        Parameter(help="What the data holds; default: what the run learned from, else pairs."),
    ] = None,
    beta: Annotated[PositiveFloat | None, Parameter(help="Scales the margin; default: the run's, else 0.1.")] = None,
    samples: Annotated[
        NonNegativeInt | None,
        Parameter(help="Prompts to draw a response to, for KL; 0: none; default: 128, none of a reward model."),
    ] = None,
    max_new_tokens: Annotated[PositiveInt, Parameter(help="Length limit of those responses.")] = 128,
    seed: Annotated[NonNegativeInt, Parameter(help="Of prompts and responses.")] = 0,
    as_json: Annotated[bool, Parameter(show_default=False, name="--json", help="Print JSON alone.")] = False,
    judge: Annotated[str | None, Parameter(help=_JUDGE)] = None,
    scores: Annotated[str | None, Parameter(help="With --judge: keep its verdicts in this JSON Lines file.")] = None,
    normalise: Annotated[bool, Parameter(show_default=False, negative=(), help=_NORMALISE)] = False,
) -> None:
    """Measure accuracy beside the length-only baseline, margin, log-ratios, KL and length, with 95 % intervals.

    Of a reward model: accuracy beside that baseline, margin and scores. With --judge: how often a judge agrees with the
    data's preferences, beside that baseline. With --tasks: public benchmarks.
    """
    unread: dict[str, Any] = {"reference": reference, "retain": retain, "kind": kind, "beta": beta, "samples": samples}
    unread |= {"max-new-tokens": None if max_new_tokens == 128 else max_new_tokens}
    if tasks is not None:
        unread |= {"data": data, "judge": judge, "scores": scores, "normalise": normalise or None}
        _refuse(unread, "without --tasks")
        _tell(_of_tasks(run_or_model, [task.strip() for task in tasks.split(",")], limit, seed), as_json=as_json)
        return
    _refuse({"limit": limit}, "with --tasks")
    if data is None:
        raise ConfigError("--data is missing: name files to measure on, or tasks with --tasks.")
    if judge is not None:
        _refuse({**unread, "seed": seed or None}, "without --judge")
        judged(judge, run_or_model, data, scores, normalise=normalise, as_json=as_json)
        return
    _refuse({"scores": scores, "normalise": normalise or None}, "with --judge")
    if run_or_model is None:
        raise ConfigError("RUN_OR_MODEL is missing: name what to measure, or a judge with --judge.")
    from ..evaluate.api import evaluate

    result = evaluate(
        run_or_model,
        data=data if len(data) > 1 else data[0],
        reference=reference,
        retain=retain,
        kind=kind,
        beta=beta,
        samples=samples,
        max_new_tokens=max_new_tokens,
        seed=seed,
    )
    _tell(result, as_json=as_json)


def _of_tasks(run_or_model: str | None, tasks: Sequence[str], limit: int | None, seed: int) -> Mapping[str, Any]:
    from ..evaluate.tasks import evaluate_tasks, keep_tasks

    if run_or_model is None:
        raise ConfigError("RUN_OR_MODEL is missing: name what to measure.")
    found = evaluate_tasks(run_or_model, tasks, limit=limit, seed=seed)
    if (Path(run_or_model) / "evaluation.json").is_file():
        keep_tasks(Path(run_or_model), found)
    return found


def _tell(result: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _show(result)


def _refuse(options: Mapping[str, Any], where: str) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ConfigError(f"--{given[0]} is read only {where}; leave it out.")


def _show(result: Mapping[str, Any]) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    about = result["about"]
    for line in about.get("rows", ()):
        console.print(line)
    console.print(f"model: {about['model']}")
    if "harness" in about:
        template = "the chat template" if about["chat_template"] else "plain text"
        console.print(f"tasks: {', '.join(about['tasks'])} ({about['harness']}, prompts as {template})\n")
    elif about.get("head") == "score":
        console.print("reference: none, and no samples: a reward model scores responses and does not generate\n")
    else:
        none = "none, so nothing is measured against one; name one with --reference"
        console.print(f"reference: {about['reference'] or none}\n")
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("measure")
    for title in ("mean", "95 % interval", "n"):
        table.add_column(title, justify="right")
    for name, value in result.items():
        if name != "about" and value["n"]:  # one that was not measured is in --json alone
            table.add_row(name, *cells(value))
    console.print(table)
    if about.get("length_rule"):
        console.print(f"\nlength_baseline judges by length alone: {about['length_rule']}.")
