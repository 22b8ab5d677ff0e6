"""Public benchmarks: a run or model on tasks of lm-evaluation-harness, with the template that it was trained with."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import yaml

from ..data.prepare import chat_template_of
from ..data.template import ChatTemplate
from ..errors import ConfigError, DataError, MissingExtraError
from ..files import write_json
from ..logps.subject import opened, subject_of
from ..models.card import write_card
from ..models.load import Loaded
from ..report.page import write_report
from ..rollout.generate import stop_tokens
from .result import Evaluation

_Z = 1.959964
"""The normal distribution's 97.5 % point."""


def evaluate_tasks(
    run_or_model: Any,
    tasks: Sequence[str],
    *,
    tokenizer: Any = None,
    limit: int | None = None,
    batch_size: int = 8,
    seed: int = 0,
) -> Evaluation:
    """Measure a model on tasks of lm-evaluation-harness (the extra `tasks`), with the few-shot examples each names.

    Prompts go through the chat template that the run was trained with, with its values and date. Answers end where
    samples of the model do. A run or model without a template is asked in plain text. Tasks that execute what the model
    wrote are refused by the harness.

    Args:
        run_or_model: A run directory, a model's folder or hub name, or a loaded model.
        tasks: Names that the harness knows, or YAML files of one's own.
        tokenizer: For a model in memory.
        limit: Documents of each task; default all.
        batch_size: Requests at once.
        seed: Of few-shot examples and of everything else that the harness draws.

    Returns:
        JSON-able: `TASK/METRIC`, or `TASK/METRIC/FILTER` where the task filters answers, each {mean, low, high, n, se}
        with the interval mean ± 1.96 of the harness's standard error, and `about`.

    Raises:
        MissingExtraError: The harness is not installed.
        ConfigError: A task that it does not know, or that needs packages of its own; a reward model: it has no answers.
        DataError: A task's documents cannot be had.
    """
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise MissingExtraError("--tasks", "tasks") from error
    names, folders = _named(tasks)
    subject = subject_of(run_or_model, tokenizer)
    if subject.head == "score":
        raise ConfigError(f"{subject.name} is a reward model, which answers nothing; measure it with --data.")
    manager = TaskManager(include_path=folders or None, include_defaults=len(folders) < len(names))
    matched = {name: manager.match_tasks([name]) for name in names}
    if unknown := [name for name, found in matched.items() if not found]:
        raise ConfigError(f"lm-evaluation-harness has no task {unknown[0]}; its list: lm-eval ls tasks")
    names = list(dict.fromkeys(task for found in matched.values() for task in found))
    with opened(subject.source) as (own, policy):
        policy.take("plain", "the harness calls the model itself")
        chat = chat_template_of(own.tokenizer, subject.template, subject.manifest.get("date"))
        found = _asked(own, chat, names, task_manager=manager, limit=limit, batch_size=batch_size, seed=seed)
    about = {
        "model": subject.name,
        "harness": f"lm_eval {version('lm_eval')}",
        "tasks": {
            task: {"version": found["versions"].get(task), "few_shot": shots, "limit": limit, "seed": seed}
            for task, shots in found["n-shot"].items()
        },
        "chat_template": chat.hash if chat else None,
    }
    return Evaluation(dict(_measures(found)), about=about)


def _asked(
    own: Loaded, chat: ChatTemplate | None, names: list[str], *, batch_size: int, seed: int, **how: Any
) -> Mapping[str, Any]:
    """Return what the harness finds of a model.

    Raises:
        LogratioError: As `evaluate_tasks`.
    """
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    asked = HFLM(
        pretrained=own.model,
        tokenizer=copy.deepcopy(own.tokenizer),  # the harness gives it a padding token
        backend="causal",
        batch_size=batch_size,
        softmax_dtype="float32",
        chat_template_args={"chat_template": chat.source(), **chat.kwargs} if chat else {},
    )
    seeds = dict.fromkeys(("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed"), seed)
    listed = ",".join(names)
    try:
        found = simple_evaluate(
            model=asked,
            tasks=names,
            apply_chat_template=chat is not None,
            gen_kwargs={"eos_token_id": stop_tokens(own.model, own.tokenizer)},
            log_samples=False,
            **seeds,
            **how,
        )
    except ValueError as error:
        raise ConfigError(f"--tasks {listed}: lm-evaluation-harness refuses it ({error}).") from error
    except ImportError as error:
        raise ConfigError(f"--tasks {listed} needs more than the extra `tasks` brings ({error}); add it.") from error
    except OSError as error:
        told = " ".join(str(error).split())[:300]
        raise DataError(
            f"--tasks {listed}: a task's documents could not be read ({told}); they come from the hub unless the task "
            "says otherwise, so see that it can be reached."
        ) from error
    return cast(Mapping[str, Any], found)


def keep_tasks(run: Path, found: Mapping[str, Any]) -> None:
    """Put measures of tasks into a run's `evaluation.json`, with what was asked under "tasks"; renew page and card.

    Measures of the same tasks from before are replaced.
    """
    file, asked = run / "evaluation.json", found["about"]["tasks"]
    kept = json.loads(file.read_text(encoding="utf-8"))
    about = {key: value for key, value in found["about"].items() if key in ("harness", "chat_template")}
    told = {**kept.pop("tasks", {}), **{task: {**value, **about} for task, value in asked.items()}}
    others = {name: value for name, value in kept.items() if name.partition("/")[0] not in asked}
    write_json(file, {**others, **{name: value for name, value in found.items() if name != "about"}, "tasks": told})
    write_card(run)
    write_report(run)


def _named(tasks: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the tasks' names, and the folders of those that are files.

    Raises:
        ConfigError: A file that is missing, or describes no task.
    """
    names, folders = [], []
    for task in tasks:
        if not task.endswith((".yaml", ".yml")):
            names.append(task)
            continue
        if not Path(task).is_file():
            raise ConfigError(f"--tasks {task}: there is no such file; give a task's name, or its YAML file.")
        try:
            described = yaml.load(Path(task).read_text(encoding="utf-8"), _Described)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            told = " ".join(str(error).split())
            raise ConfigError(f"--tasks {task}: the file is not valid YAML ({told}); mend it.") from error
        if not isinstance(described, dict) or not isinstance(described.get("task"), str):
            raise ConfigError(f"--tasks {task}: the file describes no task, since it has no key `task`; add its name.")
        names.append(described["task"])
        folders.append(str(Path(task).resolve().parent))
    return names, folders


class _Described(yaml.SafeLoader):
    """Reads a task's file without following what the harness's own tags name."""


_Described.add_multi_constructor("!", lambda loader, suffix, node: None)


def _measures(found: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the harness's numbers by name, each with its interval."""
    for task, values in found["results"].items():
        for key, mean in values.items():
            metric, comma, kind = key.partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(mean, (int, float)):
                continue
            known = values.get(f"{metric}_stderr,{kind}")
            error = float(known) if isinstance(known, (int, float)) else None
            yield (
                f"{task}/{metric}" + ("" if kind == "none" else f"/{kind}"),
                {
                    "mean": float(mean),
                    "low": None if error is None else mean - _Z * error,
                    "high": None if error is None else mean + _Z * error,
                    "n": _documents(found, task),
                    "se": error,
                },
            )


def _documents(found: Mapping[str, Any], task: str) -> int:
    """Return on how many documents a task was measured; of a group, on those of its members."""
    if task in found["n-samples"]:
        return int(found["n-samples"][task]["effective"])
    return sum(_documents(found, member) for member in found.get("group_subtasks", {}).get(task, ()))
