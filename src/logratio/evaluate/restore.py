"""Where a change of weights lies, and what undoing a part of it costs: the parts of a model, by layer and module."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..batch.group import Floats, Group, scored_masks
from ..errors import ReferenceChoiceError
from ..logps.policy import Policy
from ..logps.reference import score

OUTSIDE = "outside the layers"
"""Where embeddings, the last norm and the head lie."""

NORMS = "norms"
"""Block of a layer's parts that hold vectors only."""


@dataclass(frozen=True)
class Part:
    """One weight.

    Attributes:
        name: As the model names it.
        layer: "layer 3", or `OUTSIDE`.
        block: The layer's direct part that it belongs to, as "mlp"; norms count as one.
        module: Its module within the layer, as "mlp.up_proj"; experts count as one.
    """

    name: str
    layer: str
    block: str
    module: str


@dataclass(frozen=True)
class Moved:
    """How far weights lie from others, by squared Frobenius norms.

    Attributes:
        change: ‖W − W_ref‖².
        norm: ‖W_ref‖².
    """

    change: float = 0.0
    norm: float = 0.0

    @property
    def relative(self) -> float | None:
        """‖W − W_ref‖/‖W_ref‖; None where the reference is 0."""
        return float(np.sqrt(self.change / self.norm)) if self.norm > 0 else None

    def __add__(self, other: Moved) -> Moved:
        return Moved(self.change + other.change, self.norm + other.norm)


def weights(model: Any) -> dict[str, Tensor]:
    """Return a model's floating-point weights by name, a tied one once, under its first name."""
    seen: set[int] = set()
    found = {}
    for name, weight in model.state_dict().items():
        if weight.is_floating_point() and weight.numel() and weight.data_ptr() not in seen:
            seen.add(weight.data_ptr())
            found[name] = weight
    return found


def parts(names: Mapping[str, Tensor]) -> list[Part]:
    """Say where each weight lies, by its name: what follows the first number is within that layer."""
    placed = [(name, *_place(name)) for name in names]
    wide = {(layer, block) for name, layer, block, _ in placed if names[name].ndim > 1}
    return [
        Part(name, layer, block if layer == OUTSIDE or (layer, block) in wide else NORMS, module)
        for name, layer, block, module in placed
    ]


def _place(name: str) -> tuple[str, str, str]:
    path = name.split(".")
    at = next((i for i, piece in enumerate(path) if piece.isdigit()), None)
    if at is None or at + 1 == len(path):
        module = path[-2] if len(path) > 1 else name
        return OUTSIDE, module, module
    inner = path[at + 1 :]
    inner = inner[:-1] if len(inner) > 1 and inner[-1] in ("weight", "bias") else inner
    return f"layer {path[at]}", inner[0], re.sub(r"\.\d+(?=\.|$)", "", ".".join(inner))


def moved(policy: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> dict[str, Moved]:
    """Return how far each weight of a policy lies from the reference's.

    Raises:
        ReferenceChoiceError: They are not weights of one architecture.
    """
    return {name: _moved(weight, _of(reference, name, weight)) for name, weight in policy.items()}


def _moved(weight: Tensor, other: Tensor) -> Moved:
    other = other.to(weight)
    return Moved(float((weight - other).double().square().sum()), float(other.double().square().sum()))


def _of(reference: Mapping[str, Tensor], name: str, weight: Tensor) -> Tensor:
    other = reference.get(name)
    if other is None or other.shape != weight.shape:
        has = "no such weight" if other is None else f"one of shape {tuple(other.shape)}"
        raise ReferenceChoiceError(
            f"the policy has {name} of shape {tuple(weight.shape)} and the reference {has}, so the one cannot take "
            "the place of the other; this needs a reference of the same architecture."
        )
    return other


@dataclass(frozen=True)
class Restoring:
    """A policy whose weights can be replaced by the reference's, and the pairs that it is asked about.

    Attributes:
        policy: Around the model; every weight is what it was before after each question.
        own: Its weights, as `weights` returns them.
        reference: The reference's, by the same names (a tied one may have further names); may be on the CPU.
        groups: Pairs: one edge each.
        against: Summed log-probs of both sides under the reference, float64 [E, 2].
        beta: Scales the margin.
        bin_tokens: Tokens a forward pass may hold.
    """

    policy: Policy
    own: Mapping[str, Tensor]
    reference: Mapping[str, Tensor]
    groups: Sequence[Group]
    against: NDArray[np.float64]
    beta: float
    bin_tokens: int

    def margins(self, restored: Collection[str] = ()) -> NDArray[np.float64]:
        """Return each pair's margin β·(log-ratio chosen − rejected) with some weights restored, [E]."""
        kept = {name: self.own[name].clone() for name in restored}
        with torch.no_grad():
            for name in kept:
                self.own[name].copy_(_of(self.reference, name, self.own[name]))
            try:
                ratio = sums(self.policy, self.groups, bin_tokens=self.bin_tokens) - self.against
            finally:
                for name, weight in kept.items():
                    self.own[name].copy_(weight)
        margin: NDArray[np.float64] = self.beta * (ratio[:, 0] - ratio[:, 1])
        return margin


def sums(policy: Policy, groups: Sequence[Group], *, bin_tokens: int) -> NDArray[np.float64]:
    """Return the summed log-probs of the winner and the loser of each group's one edge, nats, [E, 2]."""
    found = score(policy, groups, bin_tokens=bin_tokens)
    return np.array([_sides(group, own) for group, own in zip(groups, found, strict=True)]).reshape(-1, 2)


def _sides(group: Group, logps: Floats) -> list[float]:
    ends = np.cumsum([int(mask.sum()) for mask in scored_masks(group)])[:-1]
    responses = [float(part.sum()) for part in np.split(logps.astype(np.float64), ends)]
    return [responses[int(side)] for side in group.edges[0]]
