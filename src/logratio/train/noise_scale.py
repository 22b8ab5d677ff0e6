"""The gradient noise scale of a run, from a second, smaller gradient at a few of its steps.

A step's bins would give small gradients for nothing, but they are sorted by length: their groups are no random draw,
and what lengths do to a gradient would count as noise. So at a probed step the gradient of a random quarter of its
groups is taken first, for its norm alone, and forgotten. The step itself is made as ever, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..maths.counter import stream
from ..maths.intervals import NOTHING, Measure
from ..maths.noise import noise_scale, signal_and_noise
from .distributed import whole
from .gradient import Learner, step_gradient
from .optim import Optimizer
from .source import Step

SHARE = 4
"""The smaller gradient is of one group in so many: a probe costs a quarter of a step."""

SMALL = "small_gradient_square"
"""What `small_square` is called among a step's totals."""

SIGNAL, NOISE = "gradient_signal", "gradient_noise"
"""Names of both estimates in the row of a probed step."""


def small_square(learner: Learner, optimizer: Optimizer, step: Step) -> tuple[Tensor, Tensor] | None:
    """Return ‖g‖² of the mean gradient of a random quarter of a step's groups, and 1: scalars at the desk.

    None where it would say nothing: a step of one group, or an objective whose items have no loss of their own. The
    gradients are to be empty, and are left empty.
    """
    if learner.scope != "item" or len(step.groups) < 2:
        return None
    step_gradient(learner, replace(step, groups=[step.groups[i] for i in _drawn(step)]))
    gradients = [slot.gradient for slot in optimizer.slots if slot.gradient is not None]
    norm: Tensor = whole(nn.utils.get_total_norm(gradients))
    for slot in optimizer.slots:
        slot.clear()
    square = norm.detach().to(learner.world.desk).double().square()
    return square, torch.ones_like(square)


def estimates(small: float, grad_norm: float, step: Step) -> dict[str, float]:
    """Return the estimates of ‖G‖² and tr Σ at a step, by the names that its row has them under.

    Args:
        small: What `small_square` returned.
        grad_norm: Norm of the whole step's gradient, before clipping.
        step: The step.
    """
    signal, noise = signal_and_noise(small, len(_drawn(step)), grad_norm**2, len(step.groups))
    return {SIGNAL: signal, NOISE: noise}


def pooled(rows: Iterable[Mapping[str, Any]]) -> Measure:
    """Return the noise scale over training rows, those that were not probed passed over."""
    found = [(row[SIGNAL], row[NOISE]) for row in rows if row.get(SIGNAL) is not None and row.get(NOISE) is not None]
    return noise_scale(*zip(*found, strict=True)) if found else NOTHING


def _drawn(step: Step) -> list[int]:
    """Return the positions of the smaller gradient's groups, in order."""
    chosen = stream("noise scale", step.index).permutation(len(step.groups))[: max(1, len(step.groups) // SHARE)]
    return sorted(chosen.tolist())
