"""From a run that is put together to what its checks look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ...batch.group import Floats
from ...errors import PreflightError
from ...findings import Finding
from .. import distributed
from ..assemble import learner_of, open_run, source_of, with_reference
from ..events import Listener, tell
from ..gradient import Learner
from ..heap import use_huge_pages
from ..judges import judges
from ..opening import Opening
from ..optim import Optimizer
from ..recipe import Resolved
from ..reference import ReferencePass
from ..rollouts import RolloutSource
from ..rundir import RunDirectory
from ..setup import Inputs
from ..source import FileSource, read_groups
from .fresh import Rehearsal
from .run import Preflight, average, shortest
from .scene import Scene

ALONE = 10.0
"""Seconds that the checks have, however short the run is, where nothing else was asked for."""


def check(
    resolved: Resolved, *, full: bool = False, listeners: Sequence[Listener] = (), inputs: Inputs | None = None
) -> list[Finding]:
    """Make the checks that come before the first step, and nothing else: no run directory is left, no step is made.

    The reference's log-probs are computed for the few groups that are looked at.

    Args:
        resolved: The recipe.
        full: Make every check, whatever it takes.
        listeners: Told every event, on rank 0.
        inputs: Objects in place of names.

    Raises:
        LogratioError: The input or the machine does not allow the run.
    """
    use_huge_pages()
    world = distributed.start(resolved.config.train.parallel)
    emit = tell(listeners if world.rank == 0 else [])
    with TemporaryDirectory(prefix="logratio-check-") as folder, distributed.peers():
        directory = RunDirectory.create(Path(folder)) if world.rank == 0 else RunDirectory(Path(folder), None)
        checks = Preflight(directory, world, emit, full=full, least=ALONE)
        try:
            _make(checks, resolved, inputs or Inputs())
        except PreflightError:  # what it says is among the findings
            pass
        finally:
            directory.close()
        return checks.findings


def _make(checks: Preflight, resolved: Resolved, inputs: Inputs) -> None:
    world, emit = checks.world, checks.emit
    judge, _ = judges(resolved.config, inputs, world)
    opening, optimizer = open_run(resolved, checks.directory, world, inputs, checks, judge)
    emit(
        "open", lines=opening.lines(), steps=opening.steps, directory="", config=opening.config.model_dump(mode="json")
    )
    passing = ReferencePass(
        opening.config,
        opening.model,
        opening.policy,
        world,
        opening.bf16,
        on_block=lambda done, of: None,
        warn=lambda text: emit("warning", text=text),
    )
    learner = with_reference(learner_of(resolved, opening), optimizer, opening, passing.warn)
    source = source_of(opening, learner, None, checks.directory, judge)
    if isinstance(source, RolloutSource):
        checks.before_drawing(Rehearsal(source))
        return
    before_pass(checks, opening, learner, optimizer, passing)


def before_pass(
    checks: Preflight, opening: Opening, learner: Learner, optimizer: Optimizer, passing: ReferencePass
) -> Scene:
    """Make the checks before the first step with the reference's log-probs of the few groups that they look at.

    These are a block of their own in the cache, so that those of the whole data set, which follow, are what they would
    be without.

    Raises:
        PreflightError: Something is wrong.
    """
    spots: list[tuple[float, float]] = []
    own = replace(passing, on_block=lambda done, of: None, on_spot=lambda off, allowed: spots.append((off, allowed)))
    data = opening.data
    sizes = data.prepared.groups.sizes()[data.train]
    chosen = shortest(sizes)
    groups = [data.groups[int(i)] for i in data.train[chosen]]
    values: Sequence[Floats] | None = own.values(groups) if learner.reads_cache else None
    few = read_groups(groups, range(len(groups)), values)
    longest = data.groups[int(data.train[int(np.argmax(sizes))])].tokens
    scene = Scene(opening, learner, optimizer, few, longest, max(spots, default=None))
    checks.before_step(scene, average(few, sizes, chosen))
    return scene


def after_pass(checks: Preflight, scene: Scene, source: FileSource) -> None:
    """Check that the pass over the whole data set gave the few groups the log-probs that they had before it.

    Raises:
        PreflightError: It did not.
    """
    data = scene.opening.data
    chosen = data.train[shortest(data.prepared.groups.sizes()[data.train])]
    checks.after_pass(scene, read_groups(source.groups, chosen, source.reference))
