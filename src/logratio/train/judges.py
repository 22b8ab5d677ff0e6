"""Who judges in a run: what the recipe names, or what was given from Python, which is checked at every call."""

from __future__ import annotations

import gc
import inspect
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from ..config import JudgeConfig, RunConfig
from ..rollout.judge import Asked, Comparison, Judge, OnFailure, Verdict, settled, together_or_alone
from ..rollout.judges import open_judge
from ..rollout.judges.function import FunctionJudge
from .distributed import World
from .setup import Inputs
from .unread import require_samples_drawn


def judges(config: RunConfig, inputs: Inputs, world: World) -> tuple[Judge | None, Judge | None]:
    """Return who judges what is learned from, and who judges the samples of evaluations: the same unless told.

    Args:
        config: The recipe that the run goes by: what it says of failures holds for a judge from Python too.
        inputs: Its judge, an object or a function, stands in place of the one that the recipe names.
        world: The processes.

    Raises:
        LogratioError: A judge cannot be opened, or is one of samples that are not drawn; one sentence.
    """
    evaluated = inputs.eval_data is not None or config.eval.data is not None
    require_samples_drawn(config, processes=world.size, given=evaluated)
    named, other = config.judge, config.eval.judge
    own: Judge | None = None
    if inputs.judge is not None:
        own = judge_in_memory(inputs.judge, "stop" if named is None else named.on_failure)
    elif named is not None:
        own = _opened(named, config)
    return own, own if other is None else _opened(other, config)


def _opened(judge: JudgeConfig, config: RunConfig) -> Judge:
    models = judge.reward_model is not None or judge.implicit is not None
    offload = config.rollout is not None and config.rollout.offload
    return OffloadedJudge(judge) if models and offload else open_judge(judge)


def judge_in_memory(judge: Any, on_failure: OnFailure) -> Judge:
    """Return a judge from Python with its verdicts checked, and a function, whatever its attributes, as a judge."""
    plain = inspect.isroutine(judge) or isinstance(judge, partial)
    if plain or not hasattr(judge, "description"):
        name = getattr(judge, "__name__", None) or "given from Python"
        return FunctionJudge(judge, name, on_failure=on_failure)
    return CheckedJudge(judge, on_failure)


class CheckedJudge:
    """A judge of a person's own, of which only whole verdicts of plain numbers are taken: `together_or_alone`."""

    def __init__(self, judge: Judge, on_failure: OnFailure) -> None:
        self.description = str(judge.description)
        self._judge, self._on_failure = judge, on_failure

    def __call__(self, asked: Sequence[Asked]) -> list[Verdict]:
        """Return a verdict for each prompt.

        Raises:
            JudgeError: It fails or answers nonsense, with "stop"; or not one verdict for each prompt.
        """
        verdicts = together_or_alone(self._of, asked, self._on_failure)
        return settled(self.description, asked, verdicts, self._on_failure)

    def _of(self, asked: Sequence[Asked]) -> list[Verdict]:
        return [_plain(verdict) for verdict in self._judge(asked)]


class OffloadedJudge:
    """A model that judges, in memory only while it is asked: `rollout.offload`."""

    def __init__(self, config: JudgeConfig) -> None:
        """Open it once: what is wrong with it is told before the run."""
        self._config = config
        with self._judge() as judge:
            self.description = str(judge.description)

    def __call__(self, asked: Sequence[Asked]) -> Sequence[Verdict]:
        """Return the model's verdicts.

        Raises:
            LogratioError: It fails, or can no longer be opened.
        """
        gc.collect()  # a model holds itself in cycles: the reference before this one, and this one below
        with self._judge() as judge:
            verdicts: Sequence[Verdict] = judge(asked)
        del judge
        gc.collect()
        return verdicts

    def _judge(self) -> closing[Any]:
        return closing(open_judge(self._config))


class TimedJudge:
    """A judge whose time is taken.

    Attributes:
        seconds: What it has taken so far.
    """

    def __init__(self, judge: Judge) -> None:
        self.description, self.seconds = judge.description, 0.0
        self._judge = judge

    def __call__(self, asked: Sequence[Asked]) -> Sequence[Verdict]:
        """Return what the judge says, and add the time that it took, whatever comes of it."""
        began = time.monotonic()
        try:
            return self._judge(asked)
        finally:
            self.seconds += time.monotonic() - began


def _plain(verdict: Any) -> Verdict:
    """Return a verdict with Python's own numbers, which a file can hold; one that failed where it has others."""
    if not isinstance(verdict, Verdict):
        return Verdict(failed=f"it returned {type(verdict).__name__} in place of a Verdict")
    try:
        scores = None if verdict.scores is None else tuple(float(score) for score in verdict.scores)
        comparisons = tuple(
            Comparison(int(one.first), int(one.second), float(one.probability)) for one in verdict.comparisons
        )
        usage: Mapping[str, float] = {str(name): float(value) for name, value in verdict.usage.items()}
    except (TypeError, ValueError, AttributeError) as error:
        return Verdict(failed=f"its verdict holds what is no number ({' '.join(str(error).split())[:200]})")
    return Verdict(scores, comparisons, bool(verdict.both_bad), str(verdict.failed), usage)
