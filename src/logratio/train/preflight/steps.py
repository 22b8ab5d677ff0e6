"""What a run's own first steps say about it: nothing is rehearsed, and no number of the run changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from torch import Tensor

from ...errors import CheckpointError
from ...findings import Finding, Level
from .. import checkpoint
from ..distributed import World
from ..optim import Optimizer, sampled
from .amount import Figures

Row = Mapping[str, Any]
"""A row of `metrics.jsonl`, of kind train."""

MOVED = 2
"""Steps after which every weight should have moved; after one, the A of a low-rank pair has not."""
LOOKED = 20
"""Steps over which loss and rounding are looked at."""
_READ = 1 << 30
"""Bytes of a checkpoint that are read back."""


class Late(Protocol):
    """What is looked at when it is there to be seen, be it after the watched steps."""

    def due(self, done: int, row: Row, *, moved: bool) -> bool:
        """Whether it is, after `done` steps; `moved` says whether a weight had moved before the last of them."""
        ...

    def finding(self, done: int, row: Row) -> Finding:
        """Say what is seen."""
        ...


@dataclass
class FirstSteps:
    """Watches the first steps of a run.

    Of fresh responses, a step that lost its verdicts, or whose responses were judged alike, may have no gradient, and
    does not count. Whether the loss fell is not asked there: each phase has responses and advantages of its own, and in
    its first step, where every ratio is 1, the loss says nothing of the policy.

    Attributes:
        optimizer: The trained weights.
        world: The processes.
        steps: Steps in the run.
        found: Makes a check, and takes what it found.
        fell: Says of the rows of the watched steps whether the loss fell; None of fresh responses.
        follows: Says, of phases of fresh responses, whether the sampler follows the weights; None of files.
    """

    optimizer: Optimizer
    world: World
    steps: int
    found: Callable[[Callable[[], Finding]], None]
    fell: Callable[[Sequence[Row]], Finding] | None = None
    follows: Late | None = None
    _before: dict[str, Tensor] = field(default_factory=dict)
    _rows: list[Row] = field(default_factory=list)
    _learned: int = 0
    _saved: bool = False

    def __post_init__(self) -> None:
        self._before = {slot.name: sampled(self.optimizer.kept(slot)).clone() for slot in self.optimizer.slots}

    def after_step(self, done: int, row: Row) -> None:
        """Look at what is due after `done` steps; all processes take part."""
        last = min(LOOKED, self.steps)
        if self.follows is not None and self.follows.due(done, row, moved=self._learned > 0):
            self.found(partial(self.follows.finding, done, row))
        self._learned += self.follows is None or row["grad_norm"] > 0
        if done > last:
            return
        self._rows.append(row)
        if self._before and (self._learned == MOVED or done == last):
            self.found(self._moved if self._learned else self._idle)
            self._before = {}
        if done == last:
            if self.fell is not None:
                self.found(partial(self.fell, self._rows))
            self.found(self._kept)

    def after_checkpoint(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        """Read the first checkpoint back; on the process that wrote it."""
        if not self._saved:
            self._saved = True
            self.found(lambda: reloaded(path, tensors))

    def _idle(self) -> Finding:
        says = f"None of the first {len(self._rows)} steps had a gradient, so that no weight moved."
        remedy = (
            "Look at the responses in rollouts/: those to a prompt may all be judged alike, so that nothing is learned "
            "of them; choose other prompts, another judge, or more responses (rollout.k)."
        )
        return Finding("parameters_moved", "look", says, remedy, {"steps": len(self._rows)})

    def _moved(self) -> Finding:
        still = [slot.name for slot in self.optimizer.slots if self._unmoved(slot.name, self.optimizer.kept(slot))]
        counted = torch.tensor([float(name in still) for name in self._before], dtype=torch.float64)
        total = self.world.total(counted.to(self.world.desk)).cpu().tolist()
        still = [name for name, n in zip(self._before, total, strict=True) if n == self.world.size]
        done = len(self._rows)
        figures: Figures = {"trained": len(self._before), "unmoved": len(still), "steps": done}
        if not still:
            says = f"All {len(self._before)} trained weights moved within {done} steps."
            return Finding("parameters_moved", "fine", says, figures=figures)
        names = ", ".join(still[:3])
        if len(still) == len(self._before):
            return Finding(
                "parameters_moved",
                "stop",
                f"No trained weight moved within {done} steps ({names}): nothing is learned.",
                "Check train.lr, and that the loss has a gradient (grad_norm above 0).",
                figures,
            )
        waiting = self._learned < MOVED and all("lora_A" in name for name in still)
        says = f"{len(still)} of {len(self._before)} trained weights did not move within {done} steps ({names})."
        if waiting:
            return Finding("parameters_moved", "note", f"{says[:-1]}: each waits for its B.", figures=figures)
        remedy = "Freeze what is not to be trained; parts that few tokens use, as experts, may move later."
        return Finding("parameters_moved", "look", says, remedy, figures)

    def _unmoved(self, name: str, kept: Tensor) -> bool:
        return torch.equal(sampled(kept), self._before[name])

    def _kept(self) -> Finding:
        shares = [float(row["rounded_away"]) for row in self._rows if row.get("rounded_away") is not None]
        share = _mean(shares) if shares else 0.0
        figures: Figures = {"rounded_away_share": share, "steps": len(self._rows)}
        says = f"{share:.1%} of the watched updates left the stored weight as it was, over {len(self._rows)} steps"
        if self.optimizer.stochastic:
            says = f"{says}; they are rounded stochastically, so that their mean is right."
            return Finding("updates_kept", "fine", says, figures=figures)
        if share < 0.5:
            return Finding("updates_kept", "fine", f"{says}.", figures=figures)
        level: Level = "stop" if share > 0.95 else "look"
        remedy = "Keep float32 masters (train.weights fp32), or raise train.lr."
        return Finding("updates_kept", level, f"{says}: they are lost to rounding.", remedy, figures)


def fell(rows: Sequence[Row], *, logps: Callable[[], Any], start: tuple[Any, float]) -> Finding:
    """Whether the loss fell over these steps, or stayed what it was while the policy moved.

    Args:
        rows: The steps'.
        logps: Log-probs of a few groups as they are now; all processes take part.
        start: The same before the first step, with the difference that is rounding, nats.
    """
    losses = [float(row["loss"]) for row in rows]
    values, tolerance = start
    now = logps()
    moved = float(abs(now - values).max()) if len(values) else 0.0
    part = max(1, len(losses) // 4)
    first, last = losses[:part], losses[-part:]
    figures: Figures = {
        "loss_first": _mean(first),
        "loss_last": _mean(last),
        "steps": len(losses),
        "log_probs_moved": moved,
    }
    means = f"{_mean(first):.6g}, {_mean(last):.6g}"
    about = f"mean loss of the first {part} and the last {part} of {len(losses)} steps: {means}"
    if len(losses) >= 4 and max(losses) - min(losses) <= 1e-9 * abs(losses[0]):
        return _stuck(losses[0], moved, tolerance, figures)
    if len(losses) < 4:
        return Finding("loss_fell", "note", f"Too few steps to tell whether the loss falls ({about}).", figures=figures)
    if _mean(last) < _mean(first):
        return Finding("loss_fell", "fine", f"The loss fell: {about}.", figures=figures)
    spread = math.sqrt(sum((loss - _mean(losses)) ** 2 for loss in losses) / (len(losses) - 1))
    rise = _mean(last) - _mean(first)
    if rise > 3 * spread * math.sqrt(2 / part) and rise > 0.05 * abs(_mean(first)):
        remedy = "Lower train.lr, or lengthen train.warmup."
        return Finding("loss_fell", "look", f"The loss rises: {about}.", remedy, figures)
    return Finding("loss_fell", "note", f"The loss has not fallen beyond its noise yet: {about}.", figures=figures)


def _stuck(loss: float, moved: float, tolerance: float, figures: Figures) -> Finding:
    says = f"The loss stays {loss:.6g} to the last digit over {figures['steps']} steps"
    if moved > tolerance:
        return Finding(
            "loss_fell",
            "stop",
            f"{says}, while log-probs moved by up to {moved:.2g} nat: no learning signal, as where the reference moves "
            "along with the policy, or the loss does not read the policy's log-probs.",
            "Check reference and objective; a reference needs weights or cached log-probs of its own.",
            figures,
        )
    return Finding(
        "loss_fell",
        "look",
        f"{says}, and log-probs moved by no more than rounding ({moved:.2g} nat): these steps are too small to tell.",
        "Check train.lr and train.warmup.",
        figures,
    )


def reloaded(path: Path, tensors: Mapping[str, Tensor]) -> Finding:
    """Whether a checkpoint, read back, holds what was to be saved, bit for bit.

    Args:
        path: The checkpoint.
        tensors: What was to be saved; up to 1 GiB of it is compared.
    """
    wrong, compared, size = [], 0, 0
    total = sum(value.nbytes for value in tensors.values())
    every = max(1, math.ceil(total / _READ))
    try:
        with safe_open(path / checkpoint.STATE, framework="pt") as file:
            known = set(file.keys())
            for name in sorted(tensors)[::every]:
                value = tensors[name]
                compared, size = compared + 1, size + value.nbytes
                same = name in known and _equal(file.get_tensor(name), value)
                wrong += [] if same else [name]
            wrong += sorted(set(tensors) ^ known)
    except (OSError, ValueError, CheckpointError) as error:
        return Finding(
            "checkpoint_reload", "stop", f"The first checkpoint, {path.name}, cannot be read back ({error}).", _REMEDY
        )
    figures: Figures = {"tensors": len(tensors), "compared": compared, "bytes": size}
    if wrong:
        return Finding(
            "checkpoint_reload",
            "stop",
            f"The first checkpoint, read back, differs from what was saved in {len(set(wrong))} of {len(tensors)} "
            f"tensors ({', '.join(dict.fromkeys(wrong[:3]))}), so a resumed run would be another one.",
            _REMEDY,
            figures,
        )
    says = f"The first checkpoint, read back, is bit for bit what was saved ({compared} of {len(tensors)} tensors)."
    return Finding("checkpoint_reload", "fine", says, figures=figures)


_REMEDY = "Check the disk that the run directory lies on."


def _equal(found: Tensor, value: Tensor) -> bool:
    return found.dtype == value.dtype and torch.equal(found, value)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
