"""From a run that is put together to what its checks look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ...batch.group import Floats, Group
from ...errors import PreflightError
from ...findings import Finding
from .. import distributed
from ..assemble import Assembled, open_run, with_reference
from ..events import Listener, tell
from ..gradient import Learner
from ..memory import use_huge_pages
from ..opening import Opening
from ..optim import Optimizer
from ..recipe import Resolved
from ..reference import ReferencePass
from ..rundir import RunDirectory
from ..setup import Inputs
from ..source import read_groups
from .run import Preflight, average, shortest
from .scene import Scene


def of_run(job: Assembled) -> tuple[Scene, float]:
    """Return what the checks of a run look at, and the packed tokens of a group on average."""
    source, reference = job.fit.source, job.fit.source.reference

    def read(positions: Sequence[int]) -> list[Group]:
        return read_groups(source.groups, positions, reference)

    return _scene(job.opening, job.fit.learner, job.fit.optimizer, read, lambda: job.spot)


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
        checks = Preflight(directory, world, emit, full=full)
        try:
            _make(checks, resolved, inputs or Inputs())
        except PreflightError:  # what it says is among the findings
            pass
        finally:
            directory.close()
        return checks.findings


def _make(checks: Preflight, resolved: Resolved, inputs: Inputs) -> None:
    world, emit = checks.world, checks.emit
    opening, optimizer = open_run(resolved, checks.directory, world, inputs, checks)
    emit(
        "open", lines=opening.lines(), steps=opening.steps, directory="", config=opening.config.model_dump(mode="json")
    )
    spots: list[tuple[float, float]] = []
    passing = ReferencePass(
        opening.config,
        opening.model,
        opening.policy,
        world,
        opening.bf16,
        on_block=lambda done, of: None,
        warn=lambda text: emit("warning", text=text),
        on_spot=lambda off, allowed: spots.append((off, allowed)),
    )
    bins, scope = opening.config.train.bin_tokens or 1, resolved.objective.scope
    learner = Learner(opening.policy, resolved.objective, resolved.settings, world, bins, scope)
    learner = with_reference(learner, optimizer, opening, passing.warn)

    def read(positions: Sequence[int]) -> list[Group]:
        groups = [opening.data.groups[int(i)] for i in positions]
        values: Sequence[Floats] | None = passing.values(groups) if learner.reads_cache else None
        return read_groups(groups, range(len(groups)), values)

    scene, tokens = _scene(opening, learner, optimizer, read, lambda: max(spots, default=None))
    checks.before_step(scene, tokens)


def _scene(
    opening: Opening,
    learner: Learner,
    optimizer: Optimizer,
    read: Callable[[Sequence[int]], list[Group]],
    spot: Callable[[], tuple[float, float] | None],
) -> tuple[Scene, float]:
    data = opening.data
    sizes = data.prepared.groups.sizes()[data.train]
    chosen = shortest(sizes)
    few = read([int(i) for i in data.train[chosen]])
    longest = data.groups[int(data.train[int(np.argmax(sizes))])].tokens
    scene = Scene(opening, learner, optimizer, few, longest, spot())
    return scene, average(few, sizes, chosen)
