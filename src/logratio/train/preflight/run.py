"""The checks of one run, in order, each timed: told as they are found, kept in a file, and stopping at a fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from ...batch.group import Group
from ...errors import PeerError, PreflightError
from ...files import write_json
from ...findings import Finding, worst
from ...logps.policy import TOLERANCE
from ..distributed import World
from ..memory import drawing_within_memory, within_memory
from ..optim import Optimizer
from ..rollouts import RolloutSource
from ..rundir import RunDirectory
from . import amount, forwards, fresh, gradients, plan, reference, rows, texts, tokens
from .budget import MOST, TIMED, USUAL, Budget, lasting, planned_seconds
from .follows import Follows
from .scene import FEW, Scene
from .steps import FirstSteps, fell

FILE = "preflight.json"
_SAID = {"fine": "pass", "note": "note", "look": "warn", "stop": "fail"}

_ON_TOKENS: tuple[tuple[str, Callable[[tokens.Tokenised], Finding]], ...] = (
    ("tokens_shown", tokens.shown),
    ("loss_mask", tokens.mask),
    ("sequence_ends", tokens.ends),
    ("generation_template", tokens.generation),
    ("unknown_tokens", amount.unknown_tokens),
    ("rows_lost", amount.rows_lost),
    ("held_out", amount.held_out),
)
_WITHOUT_FORWARD: tuple[tuple[str, Callable[[Scene], Finding]], ...] = (
    ("learning_rate", plan.learning_rate_sane),
    ("longest_batch", plan.longest_batch),
    ("reference_storage", reference.reference_storage),
    ("reference_cache", reference.reference_cache),
)
_ON_FORWARDS: tuple[tuple[str, Callable[[Scene], Finding], float], ...] = (
    ("batch_order", forwards.batch_order, 1),
    ("reference_at_start", reference.reference_at_start, 0),
    ("prefix_sharing", forwards.prefix_sharing, 2),
    ("packing", forwards.packing, FEW),
    ("padding", forwards.padding, 1),
)
"""Name, check, and forward passes of the few that it takes."""
_ON_PROMPTS = (("generation_template", tokens.generation),)
_ON_RESPONSES: tuple[tuple[str, Callable[[fresh.Rehearsal], Finding]], ...] = (
    ("stop_tokens", fresh.stop_tokens),
    ("judge_answers", fresh.judge_answers),
    ("sampler_agrees", fresh.sampler_agrees),
    ("enough_responses", fresh.enough_responses),
)
_GRADIENT = 3.0


def verdict(found: Finding) -> str:
    """Return pass, note, warn or fail."""
    return _SAID[found.level]


@dataclass
class Preflight:
    """What checks of a run found so far.

    Attributes:
        directory: Where they are kept.
        world: The processes; all take part in every check, and agree on what there is time for.
        emit: Told each finding, on rank 0.
        full: Whether everything is looked at, whatever it takes.
        least: Seconds that the checks have however short the run is.
        findings: In the order in which they were found.
    """

    directory: RunDirectory
    world: World
    emit: Callable[..., None]
    full: bool = False
    least: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    _skipped: list[str] = field(default_factory=list)
    _rows: tokens.Tokenised | None = None

    def __post_init__(self) -> None:
        self.budget = Budget(self.full, self.least)

    def before_loading(self, scene: tokens.Tokenised) -> None:
        """Look at the data, which is tokenised, before a model is loaded.

        Raises:
            PreflightError: Something is wrong.
        """
        for name, check in _ON_TOKENS if scene.config.rollout is None else _ON_PROMPTS:
            self.look(name, partial(check, scene))
        if scene.data.texts is not None:
            for name, check in texts.CHECKS:
                self.look(f"texts_{name}", partial(texts.look, check, scene, scene.data.texts))
        self._rows = scene
        self._decide()

    def before_drawing(self, scene: fresh.Rehearsal) -> None:
        """Look at what a run on fresh responses draws to its first prompts, and at what is said of it.

        Raises:
            PreflightError: Something is wrong.
        """
        rollout = scene.source.draw.rollout
        with drawing_within_memory(0, rollout, scene.source.learner.bin_tokens):
            for name, check in _ON_RESPONSES:
                self.look(name, partial(check, scene))
        self._decide()

    def before_step(self, scene: Scene, tokens_a_group: float) -> None:
        """Look at model, reference and gradient before the first step.

        Args:
            scene: The run.
            tokens_a_group: Packed tokens of a group of the data set, on average.

        Raises:
            PreflightError: Something is wrong.
        """
        with within_memory("preflight", scene.few, scene.opening.config.train.bin_tokens or 1):
            self._made(scene, tokens_a_group)
        self._decide()

    def after_pass(self, scene: Scene, few: Sequence[Group]) -> None:
        """Look at what the reference pass gave the few, whatever time is left: nothing is computed.

        Raises:
            PreflightError: Something is wrong.
        """
        self.keep(replace(reference.reference_pass(scene, few), seconds=0.0))
        self._decide()

    def _made(self, scene: Scene, tokens_a_group: float) -> None:
        for name, check in _WITHOUT_FORWARD:
            self.look(name, partial(check, scene))
        before = self.budget.spent
        self.look("first_forward", lambda: _forward(scene))
        self.budget.spent = before  # what a process does once, as compiling, the first step would have done
        self._decide()  # without log-probs there is nothing to compare
        self.look("two_forwards", partial(forwards.two_forwards, scene))
        once = float(self.world.text(repr(self.budget.spent - before)))
        self._plan(scene, once, tokens_a_group)
        for name, forward_check, passes in _ON_FORWARDS:
            self.look(name, partial(forward_check, scene), seconds=passes * once)
        self._gradients(scene, once)
        self._audit()
        self._tell_budget(once)

    def _plan(self, scene: Scene, once: float, tokens_a_group: float) -> None:
        """Estimate the run's length from the pass just timed; where there is time, from one of a bin's usual size."""

        def planned(tokens: int, seconds: float) -> float:
            return planned_seconds(scene.opening, tokens=tokens, seconds=seconds, tokens_a_group=tokens_a_group)

        self.budget.planned = planned(scene.tokens, once)
        copies = min(scene.opening.config.train.bin_tokens or 1, USUAL) // scene.tokens
        if copies < 2 or self.world.any(copies * once > TIMED * self.budget.most):
            return
        began = time.perf_counter()
        scene.floats(list(scene.few) * copies)
        took = float(self.world.text(repr(time.perf_counter() - began)))
        self.budget.spent += took
        self.budget.planned = planned(scene.tokens * copies, took)

    def _gradients(self, scene: Scene, once: float) -> None:
        taken: list[gradients.Gradient] = []

        def reaches() -> Finding:
            taken.append(gradients.taken(scene, scene.few, 1 << 30))
            return gradients.gradient_reaches(scene, taken[0])

        self.look("gradient_reaches", reaches, seconds=_GRADIENT * once)
        apart = _GRADIENT * (1 + FEW) * once
        if taken:
            self.look("micro_batches", lambda: gradients.micro_batches(scene, taken[0]), seconds=apart)
        else:
            self._skipped.append("micro_batches")

    def _audit(self) -> None:
        """Audit as many of the first rows as there is time for, on rank 0, which tells what was found."""
        room = rows.MOST if self.full else int((self.budget.most - self.budget.spent) / rows.SECONDS)
        most = min(rows.MOST, room)
        if self._rows is None or self.world.any(most < rows.LEAST):
            self._skipped.append("audit")
            return
        began = time.perf_counter()
        if self.world.rank == 0:
            for found in rows.audited(self._rows, most):
                self.keep(found)
        self.budget.spent += time.perf_counter() - began

    def look(self, name: str, check: Callable[[], Finding], seconds: float = 0.0) -> None:
        """Make a check that will take about so many seconds, where there is time for it, and tell what it found."""
        if self.world.any(not self.budget.allows(seconds)):
            self._skipped.append(name)
            return
        began = time.perf_counter()
        found = check()
        took = time.perf_counter() - began
        self.budget.spent += took
        self.keep(replace(found, seconds=round(took, 4)))

    def keep(self, found: Finding) -> None:
        """Note a finding, and tell it."""
        self.findings.append(found)
        self.emit("preflight", finding=found.as_json(), verdict=verdict(found))

    def write(self) -> None:
        """Write what was found into the run directory."""
        if self.directory.writes:
            write_json(self.directory.path / FILE, [found.as_json() for found in self.findings])
            self.directory.manifest(preflight=self.summary())

    def summary(self) -> dict[str, Any]:
        """Return what the manifest says."""
        return {
            "ran": True,
            "level": worst(self.findings),
            "seconds": round(self.budget.spent, 3),
            "skipped": list(self._skipped),
        }

    def watch(self, scene: Scene, steps: int) -> FirstSteps:
        """Return what looks at the first steps of a run on files."""
        start = (scene.first, scene.tolerance if "turned" in vars(scene) else scene.bound)
        falls = partial(fell, logps=lambda: scene.floats(scene.few), start=start)
        return FirstSteps(scene.optimizer, self.world, steps, self._found, fell=falls)

    def watch_fresh(self, source: RolloutSource, optimizer: Optimizer) -> FirstSteps:
        """Return what looks at the first steps of a run on fresh responses."""
        bound = TOLERANCE[next(source.learner.policy.parameters()).dtype]
        follows = Follows(source.phases, bound, built_in=source.draw.engine is None)
        return FirstSteps(optimizer, self.world, source.steps, self._found, follows=follows)

    def _found(self, check: Callable[[], Finding]) -> None:
        """Make a check of the first steps, keep what it found, and stop where it is wrong."""
        began = time.perf_counter()
        result = check()
        took = time.perf_counter() - began
        self.budget.spent += took
        self.keep(replace(result, seconds=round(took, 4)))
        self.write()
        if result.level == "stop":
            raise _error([result])

    def _tell_budget(self, once: float) -> None:
        planned, most = self.budget.planned or 0.0, self.budget.most
        figures: dict[str, float | int | str | None] = {
            "planned_s": planned,
            "allowed_s": None if self.full else most,
            "spent_s": self.budget.spent,
            "forward_s": once,
            "skipped": ", ".join(self._skipped),
        }
        allowed = "no limit" if self.full else f"{most:.2g} s are allowed: 2 % of them, at most {MOST:g}"
        if self.least and not self.full:
            allowed += f", at least {self.least:g}"
        says = f"The steps will take about {lasting(planned)}, evaluations aside; {allowed}; "
        says += f"{self.budget.spent:.2g} s were spent."
        if not self._skipped:
            self.keep(Finding("budget", "fine", says, figures=figures))
            return
        left = ", ".join(self._skipped)
        self.keep(Finding("budget", "note", f"{says} Left out: {left}.", "`logratio check --full` makes all.", figures))

    def _decide(self) -> None:
        """Write, and stop where something is wrong, all processes together."""
        self.write()
        wrong = [found for found in self.findings if found.level == "stop"]
        if self.world.any(bool(wrong)):
            raise _error(wrong) if wrong else PeerError


def _forward(scene: Scene) -> Finding:
    values = scene.first
    ok = bool(np.isfinite(values).all())
    figures = {"groups": len(scene.few), "tokens": scene.tokens, "compared": len(values)}
    says = f"The {len(scene.few)} shortest groups, of {scene.tokens} tokens, serve the checks below"
    if ok:
        return Finding("first_forward", "fine", f"{says}.", figures=figures)
    rows = [group.row for group in scene.few]
    return Finding(
        "first_forward",
        "stop",
        f"{says}, and log-probs are not finite (data rows {rows}): the model's weights are not, or they overflow.",
        "Under bf16 use train.precision fp32, or check the model that the run starts from.",
        figures,
    )


def _error(wrong: Sequence[Finding]) -> PreflightError:
    first, *others = wrong
    more = f" (and {len(others)} more: {', '.join(found.name for found in others)})" if others else ""
    return PreflightError(
        f"preflight, {first.name}: {first.says} {first.remedy}{more} --no-preflight trains all the same."
    )


def shortest(sizes: np.ndarray, most: int = FEW) -> np.ndarray:
    """Return the positions of the smallest sizes, smallest first, equal ones in their order."""
    return np.argsort(sizes, kind="stable")[:most]


def average(few: Sequence[Group], sizes: np.ndarray, chosen: np.ndarray) -> float:
    """Return packed tokens of a group on average, from what the few have and what their sizes say."""
    own = float(sizes[chosen].sum())
    return float(sizes.mean()) * sum(group.tokens for group in few) / max(1.0, own)
