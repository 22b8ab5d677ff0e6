"""The only loop. What differs between methods is the source and the objective."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from torch import Tensor

from ..config import RunConfig
from ..errors import JudgeError, NonFiniteError
from .ahead import made_ahead
from .checkpoint import Progress, keep_last, name_of, save
from .distributed import local, reshard
from .gradient import Bins, Learner, metric_names, step_gradient
from .heap import give_back
from .memory import within_memory
from .moving import PREFIX
from .noise_scale import SMALL, estimates, small_square
from .optim import Optimizer
from .preflight.steps import FirstSteps
from .rundir import RunDirectory
from .schedule import rate
from .signals import StopRequest
from .source import Source, Step
from .validate import Validation
from .watch import Watch

SMALLER_IS_BETTER = ("loss", "nll")
"""How the names of such metrics begin: a run of several terms measures `loss_NAME` of each."""


@dataclass
class Fit:
    """Everything the loop touches.

    Attributes:
        learner: Policy and objective.
        optimizer: Trainable weights and their masters.
        source: Steps.
        config: The resolved recipe.
        lr: Peak learning rate.
        run: The run directory; only rank 0 writes to it.
        reference: Identity of the reference's log-probs, "" without one.
        evaluate: Steps completed → the row of an evaluation; all ranks take part.
        emit: Tells listeners.
        stop: Set by a signal.
        best: What the best checkpoint so far is, by `keep.best`.
        diagnosis: Reads the rows as they come and warns of what they show.
        first_steps: Looks at the first steps; None where no checks were asked for, or a run is resumed.
        rounds: Steps with which a round ends → writes down what the round leaves.
    """

    learner: Learner
    optimizer: Optimizer
    source: Source
    config: RunConfig
    lr: float
    run: RunDirectory
    reference: str
    evaluate: Validation
    emit: Callable[..., None]
    stop: StopRequest
    best: dict[str, Any]
    diagnosis: Watch
    first_steps: FirstSteps | None = None
    rounds: Mapping[int, Callable[[], None]] = field(default_factory=dict)

    def load(self, tensors: Mapping[str, Tensor], progress: Progress) -> None:
        """Put back the weights, moments, running values and moving reference of a checkpoint."""
        self.optimizer.load({name: value for name, value in tensors.items() if not name.startswith(PREFIX)})
        if self.learner.moving is not None:
            self.learner.moving.load(tensors)
        self.learner.set_state(progress.state)
        reshard(self.learner.policy)


def fit(job: Fit, *, start: int) -> int:
    """Train from step `start` to the end, or until asked to stop; return the steps completed.

    Raises:
        NonFiniteError: A loss or gradient is not finite; names step, rows and tensor.
        MemoryBudgetError: A bin does not fit; names its tokens and the knob.
        CollapseError: The samples have collapsed, and `stop_on` asks to stop then.
        JudgeError: A judge fails, or scores nothing of what is to choose the best checkpoint.
    """
    steps, began = job.source.steps, time.monotonic()
    if start == 0:
        _evaluate(job, 0, began)
    else:
        job.diagnosis.restore()
    ahead = job.source.ahead and job.learner.world.device.type == "cuda"
    with made_ahead(partial(_coming, job), range(start, steps), thread=ahead) as coming:
        for done in range(start + 1, steps + 1):
            row = _train_step(job, done - 1, coming, began)
            _record(job, "train", row)
            if job.first_steps is not None:
                job.first_steps.after_step(done, row)
            leave = job.rounds.get(done)
            evaluated = leave is not None or due(done, steps, job.config.every.eval)
            improved = evaluated and _evaluate(job, done, began)
            if leave is not None:  # before the checkpoint, from which a run goes on that is killed between the two
                leave()
            asked = job.learner.world.any(bool(job.stop))
            if leave or improved or asked or due(done, steps, job.config.every.checkpoint):
                checkpoint(job, done)
            if asked and done < steps:
                return done
            if evaluated and done < steps:
                job.diagnosis.require_sound(done, job.learner.world.text)
    return steps


def due(done: int, steps: int, share: float) -> bool:
    """Whether something that happens every `share` of the run is due after `done` steps; the last step always is."""
    return done == steps or math.floor(done / steps / share + 1e-9) > math.floor((done - 1) / steps / share + 1e-9)


def _coming(job: Fit, index: int) -> tuple[Step, Bins | None]:
    """Read a step and pack it, unless the log-probs of a moving reference are still to come."""
    step = job.source.step(index)
    return step, Bins.of(job.learner, step) if job.learner.moving is None and step.groups else None


def _train_step(job: Fit, index: int, coming: Iterator[tuple[Step, Bins | None]], began: float) -> dict[str, Any]:
    started = time.monotonic()
    if job.learner.moving is not None:
        job.learner.moving.follow(index)
    step, bins = next(coming)
    if step.note:
        job.emit("note", text=step.note)
    if not step.groups:  # a judge had no verdict on any of them, or preferred none: no weight and no moment moves
        nothing = {"grad_norm": 0.0, "tokens": 0, "tokens_per_s": 0.0, "time": round(time.monotonic() - began, 3)}
        return {"kind": "train", "step": index + 1, **step.measures, **nothing}
    with within_memory(f"step {index + 1}", step.groups, job.learner.bin_tokens):
        step = replace(step, groups=job.learner.with_reference(step.groups))
        small = small_square(job.learner, job.optimizer, step) if _probed(job, index) else None
        totals = step_gradient(job.learner, step, bins)
    norm = job.optimizer.clip(job.config.train.clip)
    if not math.isfinite(norm):
        raise NonFiniteError(
            f"step {index + 1}: the gradient of {_worst(job)} is not finite, data rows "
            f"{[group.row for group in step.groups][:20]}; no weight was updated: lower train.lr, "
            "leave these rows out, or under bf16 use train.precision fp32."
        )
    train = job.config.train
    lr = rate(index, job.source.steps, peak=job.lr, schedule=train.schedule, warmup=train.warmup)
    with within_memory(f"step {index + 1}, update of the weights", step.groups, job.learner.bin_tokens):
        totals.add("rounded_away", job.optimizer.step(lr, index))
    if job.learner.fresh or job.learner.moving is not None:  # the next step draws or scores before its bins
        job.optimizer.release()
    names = [*metric_names(job.learner, step), "rounded_away"]
    if small is not None:
        totals.add(SMALL, small)
        names.append(SMALL)
    means = totals.reduce(job.learner.world, names)
    if small is not None:
        means |= estimates(means.pop(SMALL), norm, step)
    seconds, tokens = time.monotonic() - started, sum(group.tokens for group in step.groups)
    return {
        "kind": "train",
        "step": index + 1,
        **step.measures,
        **means,
        "grad_norm": norm,
        "lr": lr,
        "tokens": tokens,
        "tokens_per_s": round(tokens / seconds, 1),
        "time": round(time.monotonic() - began, 3),
    }


def _probed(job: Fit, index: int) -> bool:
    share = job.config.every.noise_scale
    return share is not None and due(index + 1, job.source.steps, share)


def _worst(job: Fit) -> str:
    for slot in job.optimizer.slots:
        if slot.gradient is not None and not bool(local(slot.gradient).isfinite().all()):
            return slot.name
    return "the whole model"  # it overflows in the sum, or lies in another process's share


def _evaluate(job: Fit, done: int, began: float) -> bool:
    """Evaluate, record, and say whether this is the best checkpoint so far by `keep.best`."""
    job.optimizer.release()
    with within_memory(f"evaluation after {done} steps", job.evaluate.groups, job.learner.bin_tokens):
        measured = job.evaluate(done)
    row = {"kind": "eval", "step": done, **measured, "time": round(time.monotonic() - began, 3)}
    _record(job, "eval", row)
    job.diagnosis.look(done)
    return job.config.keep.best is not None and _is_best(job, job.config.keep.best, done, row)


def _is_best(job: Fit, name: str, done: int, row: Mapping[str, Any]) -> bool:
    """Note whether an evaluation is the best so far by a metric.

    Raises:
        JudgeError: The metric is the reward of samples, and the judge scores none of them as the run begins.
    """
    metric = name.removeprefix("eval/")  # which the data was checked for before the model was loaded
    value, sign = row["select"][metric]["mean"], -1.0 if metric.startswith(SMALLER_IS_BETTER) else 1.0
    if value is None and done == 0 and job.learner.fresh:
        raise JudgeError(
            f"keep.best is {name}, but the judge scores none of the samples that choose a checkpoint: it fails on "
            "them, or it compares, and of one a prompt says nothing; mend it, name one that scores as eval.judge, or "
            "leave keep.best out."
        )
    better = done > 0 and value is not None and not (job.best and sign * value <= sign * job.best["value"])
    if job.learner.world.text("better" if better else "no") == "no":  # ranks may round apart: the first one decides
        return False
    job.best.update(metric=name, value=value, step=done)
    return True


def _record(job: Fit, kind: Literal["train", "eval"], row: Mapping[str, Any]) -> None:
    job.run.append("metrics.jsonl", row)
    job.diagnosis.add(row)
    job.emit(kind, row=row, step=row["step"], steps=job.source.steps)


def checkpoint(job: Fit, done: int) -> None:
    """Save weights, moments and place; every rank gathers, rank 0 writes. The best one so far is not removed."""
    job.optimizer.release()
    give_back()  # full tensors, and the file that is made of them, are put together in memory
    tensors = job.optimizer.state()
    if job.learner.moving is not None:
        tensors |= job.learner.moving.state()
    if job.learner.world.rank == 0:
        state = {name: value.item() for name, value in job.learner.state.items()}
        progress = Progress(done, job.reference, job.run.offsets(), dict(job.best), state)
        path = save(job.run.path / "checkpoints", tensors, progress)
        best = name_of(job.best["step"]) if job.best else None
        keep_last(job.run.checkpoints(), job.config.keep.last, best=best)
        if job.first_steps is not None:
            job.first_steps.after_checkpoint(path, tensors)
        job.emit("checkpoint", path=str(path), step=done)
    job.learner.world.barrier()
