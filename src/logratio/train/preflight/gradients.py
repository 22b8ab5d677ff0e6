"""The gradient reaches everything that is trained, and does not depend on how a step is divided."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...batch.group import Group
from ...findings import Finding
from ..distributed import local
from ..gradient import step_gradient
from ..source import Step
from .scene import Scene

SAMPLED = 4096
"""Elements of each weight's gradient that are compared."""
_WITHIN = {torch.float64: (1e-10, 1e-8), torch.float32: (1e-4, 1e-3), torch.bfloat16: (0.02, 0.2)}
"""What counts as rounding of a gradient, relative: at least, and at most, whatever the noise that was measured."""
_EASE = 8
_MANY = 0.1
"""Share of trained elements without gradient from which something is wrong, rather than not in use."""
_EXPERT = re.compile(r"\bexperts?\b")


@dataclass(frozen=True)
class Gradient:
    """A step's gradient.

    Attributes:
        sample: Name → some of its elements, float32; those of this process's share.
        norm: Name → its norm over all processes; NaN where none arrived.
        elements: Name → number of elements, all processes'.
    """

    sample: Mapping[str, Tensor]
    norm: Mapping[str, float]
    elements: Mapping[str, int]


def taken(scene: Scene, groups: Sequence[Group], bin_tokens: int) -> Gradient:
    """Return the gradient of one step on these groups; the run's own gradients and running values stay as they are."""
    learner = replace(scene.learner, bin_tokens=bin_tokens, state=dict(scene.state))
    _clear(scene)
    try:
        step_gradient(learner, Step(0, [_off_reference(group) for group in learner.with_reference(groups)]))
        sample, squares, arrived = {}, [], []
        for slot in scene.optimizer.slots:
            gradient = slot.gradient
            own = torch.zeros(0) if gradient is None else local(gradient.detach()).flatten()
            # a copy: the next gradient may lie where this one does
            sample[slot.name] = own[:: max(1, len(own) // SAMPLED)].float().cpu().clone()
            squares.append(own.to(learner.world.desk).double().square().sum().cpu())
            arrived.append(float(gradient is not None))
    finally:
        _clear(scene)
    table = torch.stack([torch.stack(squares), torch.tensor(arrived, dtype=torch.float64)])
    found = scene.learner.world.total(table.to(scene.learner.world.desk)).cpu()
    names = [slot.name for slot in scene.optimizer.slots]
    norm = [math.sqrt(s) if n else math.nan for s, n in found.T.tolist()]
    sizes = {slot.name: slot.weight.numel() for slot in scene.optimizer.slots}
    return Gradient(sample, dict(zip(names, norm, strict=True)), sizes)


def _off_reference(group: Group) -> Group:
    """Lower the reference by a few tenths of a nat, unevenly: at it, many losses have a gradient that hides faults.

    A baseline or running mean over the step is 0 there whatever is averaged, and so is the slope of some losses.
    """
    values = group.columns.token.get("reference")
    if values is None:
        return group
    return group.with_columns(
        token={"reference": values - (0.1 + 0.1 * (np.arange(len(values)) % 5)).astype(np.float32)}
    )


def _clear(scene: Scene) -> None:
    for slot in scene.optimizer.slots:
        slot.clear()


def gradient_reaches(scene: Scene, whole: Gradient) -> Finding:
    """Whether every trained weight receives a gradient from a few groups."""
    expected = {name for name in whole.norm if _starts_at_zero(scene, name)}
    without = [name for name, norm in whole.norm.items() if (math.isnan(norm) or norm == 0) and name not in expected]
    elements = sum(whole.elements[name] for name in without)
    share = elements / max(1, sum(whole.elements.values()))
    total = math.sqrt(sum(norm**2 for norm in whole.norm.values() if not math.isnan(norm)))
    figures = {"trained": len(whole.norm), "without": len(without), "share_of_elements": share, "norm": total}
    also = f"; {len(expected)} lora_A wait for their B, which is 0" if expected else ""
    if not without:
        says = f"All {len(whole.norm)} trained weights receive a gradient (norm {total:.3g}){also}."
        return Finding("gradient_reaches", "fine", says, figures=figures)
    names = f"{', '.join(without[:3])}{f' and {len(without) - 3} more' if len(without) > 3 else ''}"
    says = (
        f"{len(without)} of {len(whole.norm)} trained weights receive no gradient "
        f"({share:.1%} of the elements: {names})"
    )
    idle = all(_EXPERT.search(name) for name in without)
    if share < _MANY or idle:
        why = "experts that none of these tokens was sent to" if idle else "they may not be in use"
        return Finding("gradient_reaches", "look", f"{says}: {why}.", "Freeze what is not to be trained.", figures)
    if total == 0 and not any(math.isnan(norm) for norm in whole.norm.values()):
        says = (
            f"The loss has gradient 0 on {len(scene.few)} groups at the start: whether it reaches all cannot be said."
        )
        return Finding("gradient_reaches", "look", says, "Watch loss and grad_norm over the first steps.", figures)
    return Finding(
        "gradient_reaches",
        "stop",
        f"{says}: no learning signal gets there.",
        "Look for a detached output, a frozen layer below an adapter, or checkpointing of inputs without gradient.",
        figures,
    )


def micro_batches(scene: Scene, whole: Gradient) -> Finding:
    """Whether the gradient of groups one by one is that of all together, weight by weight."""
    noise, _ = _apart(taken(scene, list(scene.few)[::-1], 1 << 30), whole, scene)
    off, worst = _apart(taken(scene, scene.few, 1), whole, scene)
    least, most = _WITHIN[scene.computes_in]
    tolerance = min(most, max(least, _EASE * noise))
    figures = {"largest_difference_relative": off, "tolerance_relative": tolerance, "noise_relative": noise}
    compared = f"{len(scene.few)} groups one by one and together"
    if off <= tolerance:
        says = f"The gradients of {compared} agree within {off:.2g} of a weight's norm (tolerance {tolerance:.2g})."
        return Finding("micro_batches", "fine", says, figures=figures)
    return Finding(
        "micro_batches",
        "stop",
        f"The gradients of {compared} differ by {off:.2g} of the norm of {worst} (tolerance {tolerance:.2g}): the "
        "gradient depends on how a step is divided, so the loss is scaled or reduced per micro-batch.",
        "An objective that reads other items of its step needs scope step; divide by the step's denominators only.",
        figures,
    )


def _apart(one: Gradient, other: Gradient, scene: Scene) -> tuple[float, str]:
    """Return the largest relative difference of a weight's sampled gradient over all processes, and its name."""
    names = list(other.sample)
    rows = [
        [
            float((one.sample[n] - other.sample[n]).double().square().sum()),
            float(other.sample[n].double().square().sum()),
        ]
        for n in names
        if len(one.sample[n]) == len(other.sample[n])
    ]
    if len(rows) < len(names):
        return math.nan, next(n for n in names if len(one.sample[n]) != len(other.sample[n]))
    table = scene.learner.world.total(torch.tensor(rows, dtype=torch.float64).to(scene.learner.world.desk)).cpu()
    floor = 1e-3 * math.sqrt(float(table[:, 1].sum()))  # a weight whose gradient is next to nothing is all rounding
    relative = table[:, 0].sqrt() / table[:, 1].sqrt().clamp(min=max(floor, 1e-30))
    worst = int(torch.nan_to_num(relative, nan=math.inf).argmax())
    return float(relative[worst]), names[worst]


def _starts_at_zero(scene: Scene, name: str) -> bool:
    """Whether a weight is the A of a low-rank pair whose B is still 0, which lets no gradient through."""
    if "lora_A" not in name and "lora_embedding_A" not in name:
        return False
    pair = name.replace("lora_A", "lora_B").replace("lora_embedding_A", "lora_embedding_B")
    other = next((slot for slot in scene.optimizer.slots if slot.name == pair), None)
    return other is not None and not bool(local(other.weight.detach()).any())
