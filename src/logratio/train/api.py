"""Run a recipe: from Python with `train`, from the command line with `run`."""

from __future__ import annotations

import datetime
import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..config import RunConfig
from ..errors import CheckpointError, LogratioError, RunError
from ..report.page import write_report
from ..rollout.judge import IN_MEMORY
from . import checkpoint, distributed, notebook, trackers
from .assemble import Assembled, assemble
from .distributed import World
from .events import Listener, tell
from .finish import finish
from .heap import kept_heap, use_huge_pages
from .loop import fit
from .preflight.fresh import Rehearsal
from .preflight.run import Preflight
from .preflight.scene import Scene
from .preflight.subject import after_pass, before_pass
from .recipe import Resolved, resolve
from .rollouts import RolloutSource
from .rounds import with_rounds
from .rundir import RunDirectory
from .setup import Inputs
from .signals import Interrupted, stop_requests
from .source import FileSource

Status = Literal["finished", "interrupted"]


@dataclass(frozen=True)
class Run:
    """What a run left.

    Attributes:
        directory: The run directory.
        status: finished or interrupted (it can be resumed).
        step: Steps completed.
        evaluation: The last evaluation, name → {mean, low, high, n}; empty without held-out data.
    """

    directory: Path
    status: Status
    step: int
    evaluation: Mapping[str, Any]

    @property
    def model(self) -> Path:
        """The folder that transformers loads."""
        return self.directory / "model"

    def _repr_html_(self) -> str:
        return notebook.summary(self.directory, self.status, self.step, self.evaluation)


def train(
    model: Any,
    data: Any,
    objective: str | Mapping[str, Any] = "dpo",
    *,
    tokenizer: Any = None,
    eval_data: Any = None,
    judge: Any = None,
    output: str | Path | None = None,
    resume: str | None = None,
    on_event: Listener | None = None,
    preflight: bool = True,
    **recipe: Any,
) -> Run:
    """Align a model from preferences.

    Args:
        model: Directory or hub name, or a loaded model (then `tokenizer` goes with it).
        data: File, folder or hub name, a list of them, a `datasets.Dataset`, or any iterable of dicts.
        objective: Name, or {"name": …, settings}.
        tokenizer: For a loaded model.
        eval_data: As `data`; without it a share of the prompts is held out.
        judge: Who judges fresh responses: as in a recipe, or a function (prompts, responses, rows) → one score a
            response, lists of one length, or an object as `logratio.rollout.judge.Judge`; where it fails,
            `judge.on_failure` of the recipe says what happens. Such a run cannot be resumed from the command line.
        output: Run directory; default runs/<date>-<model>-<objective>.
        resume: A run directory to continue, or "auto": continue `output` if it holds a run, else start.
        on_event: Called with every `Event`; default: in a notebook, draw the run under the cell.
        preflight: Whether to look, before and in the first steps, for what makes a run other than it seems.
        recipe: Further keys of the recipe, nested or dotted: `train={"lr": 1e-6}`, `**{"train.lr": 1e-6}`.

    Raises:
        LogratioError: The input or the machine does not allow it; one sentence each.
    """
    inputs = Inputs(
        model=None if isinstance(model, (str, Path)) else model,
        tokenizer=tokenizer,
        data=None if _names(data) else data,
        eval_data=None if eval_data is None or _names(eval_data) else eval_data,
        judge=judge if callable(judge) else None,
    )
    if inputs.model is not None and tokenizer is None:
        raise LogratioError("model is an object and tokenizer is missing: pass tokenizer=… beside it.")
    document: dict[str, Any] = {
        "model": str(model) if inputs.model is None else getattr(model, "name_or_path", "") or "in-memory",
        "data": _spelled(data) if inputs.data is None else "in memory",
        "objective": objective,
    }
    if eval_data is not None and inputs.eval_data is None:
        recipe = {**recipe, "eval.data": _spelled(eval_data)}
    if inputs.judge is not None:
        document["judge"] = {"function": f"{IN_MEMORY}:{getattr(judge, '__name__', type(judge).__name__)}"}
    elif judge is not None:
        document["judge"] = judge
    if output is not None:
        document["output"] = str(output)
    listeners = [own for own in (on_event or notebook.listener(),) if own is not None]
    return run(resolve(document, recipe), resume=resume, listeners=listeners, inputs=inputs, preflight=preflight)


def _names(data: Any) -> bool:
    if isinstance(data, (str, Path)):
        return True
    return isinstance(data, (list, tuple)) and all(
        isinstance(part, (str, Path)) or (isinstance(part, Mapping) and "path" in part) for part in data
    )


def _spelled(data: Any) -> Any:
    if isinstance(data, Iterable) and not isinstance(data, (str, Path)):
        return [str(part) if isinstance(part, Path) else part for part in data]
    return str(data)


def run(
    resolved: Resolved,
    *,
    resume: str | None = None,
    listeners: Sequence[Listener] = (),
    inputs: Inputs | None = None,
    preflight: bool = True,
) -> Run:
    """Train by a checked recipe, new or resumed.

    Args:
        resolved: The recipe; a resumed run goes by its own.
        resume: A run directory, or "auto": continue `output` if it holds a run, else start.
        listeners: Told every event, on rank 0.
        inputs: Objects in place of names.
        preflight: Whether to make the checks before and in the first steps; a resumed run had its own.

    Raises:
        LogratioError: The input or the machine does not allow it.
    """
    use_huge_pages()
    world = distributed.start(resolved.config.train.parallel, resuming=resume is not None)
    path = Path(world.text(str(_directory(resolved.config, resume))))
    continuing = resume not in (None, "auto") or (resume == "auto" and (path / "config.yaml").is_file())
    with stop_requests() as stop:
        directory = _claim(path, continuing, world)
        try:
            if continuing and (left := _left(directory)):
                return _told_finished(left, directory, tell(listeners if world.rank == 0 else []))
            if continuing:
                resolved = replace(resolve(path / "config.yaml"), explicit=frozenset({"train.lr"}))
            told = [*listeners, *trackers.listeners(resolved.config.trackers, path)] if world.rank == 0 else []
            with distributed.peers():
                emit, inputs = tell(told), inputs or Inputs()
                checks = _checks(directory, world, emit, wanted=preflight)
                scenes: list[Scene] = []

                def look(*of: Any) -> None:
                    if checks is not None and resolved.config.rollout is None:
                        scenes.append(before_pass(checks, *of))

                job = with_rounds(assemble(resolved, directory, world, emit, stop, inputs, checks, look))
                start = _restore(job, directory) if continuing else 0
                return _train(_watched(job, checks, scenes), directory, start)
        except Interrupted:
            return _interrupted(directory, directory.steps_made(), tell(told))
        except LogratioError as error:
            with suppress(LogratioError):  # the disk may be full, which `error` says already
                _unfinished(directory, "failed", error=str(error))
            directory.discard()
            raise
        finally:
            directory.close()


def _left(directory: RunDirectory) -> Run | None:
    """Return what a finished run left; None while its model is still to be made."""
    path, measured = directory.path, directory.path / "evaluation.json"
    if directory.manifest().get("status") != "finished" or not ((path / "model").is_dir() and measured.is_file()):
        return None
    evaluation = json.loads(measured.read_text(encoding="utf-8"))
    for beside in ("before", "calibration", "tasks"):
        evaluation.pop(beside, None)
    return Run(path, "finished", directory.steps_made(), evaluation)


def _told_finished(run: Run, directory: RunDirectory, emit: Callable[..., None]) -> Run:
    emit(
        "note",
        text=f"{run.directory} finished already, after {run.step} steps, so nothing is left to train; to go "
        f"on from its weights, start a new run with --model {run.model}.",
    )
    if directory.writes:
        write_report(run.directory)  # a kill between model and page leaves none
    _tell_done(run, directory, emit)
    return run


def _tell_done(run: Run, directory: RunDirectory, emit: Callable[..., None]) -> None:
    head = directory.manifest().get("objective", {}).get("head", "lm")
    told = {"directory": str(run.directory), "step": run.step, "evaluation": run.evaluation, "head": head}
    emit("done", status=run.status, **told)


def _checks(directory: RunDirectory, world: World, emit: Callable[..., None], *, wanted: bool) -> Preflight | None:
    """Return the checks of a run that begins; None, which the manifest says, where none are wanted or it has begun."""
    if directory.checkpoints():
        return None
    if not wanted:
        directory.manifest(preflight={"ran": False})
        return None
    return Preflight(directory, world, emit)


def _watched(job: Assembled, checks: Preflight | None, scenes: Sequence[Scene]) -> Assembled:
    """Look at what the reference pass gave, and have the first steps watched, where checks are made.

    Of a run on fresh responses, look at those to its first prompts.

    Raises:
        PreflightError: Something is wrong.
    """
    if checks is None:
        return job
    source = job.fit.source
    if isinstance(source, RolloutSource):
        checks.before_drawing(Rehearsal(source))
        return replace(job, fit=replace(job.fit, first_steps=checks.watch_fresh(source, job.fit.optimizer)))
    (scene,) = scenes
    assert isinstance(source, FileSource)
    after_pass(checks, scene, source)
    return replace(job, fit=replace(job.fit, first_steps=checks.watch(scene, source.steps)))


def _train(job: Assembled, directory: RunDirectory, start: int) -> Run:
    fitting = job.fit
    if start == 0:
        directory.cut({})
    with kept_heap():
        done = fit(fitting, start=start)
    if done < fitting.source.steps:
        return _interrupted(directory, done, fitting.emit)
    evaluation = finish(job, directory)
    run = Run(directory.path, "finished", done, evaluation)
    _tell_done(run, directory, fitting.emit)
    return run


def _interrupted(directory: RunDirectory, done: int, emit: Callable[..., None]) -> Run:
    _unfinished(directory, "interrupted")
    run = Run(directory.path, "interrupted", done, {})
    _tell_done(run, directory, emit)
    return run


def _unfinished(directory: RunDirectory, status: str, **why: str) -> None:
    """Record how the run ended, and show what there is of it: a sick run says so on its page."""
    entries = directory.manifest(status=status, **why)
    if directory.writes and "objective" in entries:
        write_report(directory.path)


def _restore(job: Assembled, directory: RunDirectory) -> int:
    """Put weights, moments and logs back to the newest checkpoint; return its step, 0 without one."""
    job.fit.learner.world.barrier()
    newest = directory.checkpoints()[-1:]
    if not newest:
        return 0
    with job.fit.learner.world.first():
        tensors, progress = checkpoint.load(newest[0])
    if progress.reference != job.fit.reference:
        raise CheckpointError(
            f"checkpoint {newest[0]} was trained against another reference ({progress.reference[:8]}, now "
            f"{job.fit.reference[:8] or 'none'}): the model or reference it started from has changed; "
            "restore it, or start a new run."
        )
    job.fit.load(tensors, progress)
    job.fit.best.update(progress.best)
    directory.cut(progress.offsets)
    return progress.step


def _directory(config: RunConfig, resume: str | None) -> Path:
    """Return the run directory: the one to resume, the given one, or a new one named by date, model and objective."""
    if resume not in (None, "auto"):
        return Path(str(resume))
    if config.output is not None:
        return Path(config.output)
    if resume == "auto":
        raise RunError("--resume auto needs to know which run it continues; name its directory with --output.")
    model = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(config.model).name) or "model"
    objective = Path(config.objective["name"]).name.replace(".py:", "-")  # one's own is PATH.py:FUNCTION
    stem = f"{datetime.date.today():%Y-%m-%d}-{model}-{objective}"
    taken = (Path("runs") / (stem if n == 1 else f"{stem}-{n}") for n in itertools.count(1))
    return next(path for path in taken if not path.exists())


def _claim(path: Path, continuing: bool, world: World) -> RunDirectory:
    """Open the directory on rank 0, which alone writes; where that fails, every rank stops."""
    with world.first():
        if world.rank:
            return RunDirectory(path, None)
        return RunDirectory.open(path) if continuing else RunDirectory.create(path)
