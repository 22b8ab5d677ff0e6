"""What the checks before the first step look at: a few short groups, and their log-probs however they are packed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from ...batch.group import Columns, Floats, Group
from ...batch.logps import Logps
from ...batch.needs import Needs
from ...batch.packed import PackedBatch
from ...logps.policy import TOLERANCE
from ...logps.whole import by_group, whole
from ..gradient import Learner
from ..opening import Opening
from ..optim import Optimizer

FEW = 4
"""Groups that are looked at."""
_TOGETHER = 1 << 30
_EASE = 8
"""How many times the measured noise counts as noise."""


@dataclass(frozen=True)
class Scene:
    """A run before its first step.

    Attributes:
        opening: What it is.
        learner, optimizer: As the loop gets them.
        few: The shortest groups that are trained on, with reference log-probs where the objective reads them.
        longest: Packed tokens of the longest group.
        spot: Largest difference between cached reference log-probs and the same computed anew, and the largest that is
            rounding, nats; None where none were read.
    """

    opening: Opening
    learner: Learner
    optimizer: Optimizer
    few: Sequence[Group]
    longest: int
    spot: tuple[float, float] | None

    def floats(self, groups: Sequence[Group], *, apart: bool = False, pads: int = 0) -> Floats:
        """Return log-probs of all scored tokens, or scores of all responses, of groups in their order; no gradient.

        Every process computes all of them, so that none waits for another in vain.

        Args:
            groups: What is scored.
            apart: Give each group a bin of its own; otherwise all are in one.
            pads: Tokens put behind the packed row.
        """
        own = self.learner.needs
        needs = Needs(head=own.head, temperature=own.temperature)

        def forward(batch: PackedBatch) -> Logps:
            padded = batch.padded(len(batch.tokens_T) + pads) if pads else batch
            found: Logps = self.learner.policy(padded, needs)
            return found

        logps = whole(forward, groups, bin_tokens=1 if apart else _TOGETHER)
        return np.concatenate(by_group(groups, logps)[0])

    @cached_property
    def first(self) -> Floats:
        """Log-probs of the few, in one bin."""
        return self.floats(self.few)

    @cached_property
    def turned(self) -> Floats:
        """The same with the groups in reverse order in the row."""
        values = self.floats(self.few[::-1])
        sizes = [self._size(group) for group in self.few[::-1]]
        return np.concatenate(np.split(values, np.cumsum(sizes)[:-1])[::-1])

    @cached_property
    def noise(self) -> float:
        """Largest difference between `first` and `turned`: what rounding does to the same responses."""
        return difference(self.turned, self.first)

    @property
    def tolerance(self) -> float:
        """Nats up to which log-probs count as equal: 8 × the measured noise, but from bound/4 to bound."""
        return float(np.clip(_EASE * np.nan_to_num(self.noise, nan=0.0), self.bound / 4, self.bound))

    @property
    def bound(self) -> float:
        """The largest difference that is rounding at this precision, for any model (`logps.policy.TOLERANCE`)."""
        return TOLERANCE[self.computes_in]

    @property
    def computes_in(self) -> torch.dtype:
        """Dtype of the products."""
        return torch.bfloat16 if self.opening.bf16 else next(self.learner.policy.parameters()).dtype

    @property
    def tokens(self) -> int:
        """Packed tokens of the few."""
        return sum(group.tokens for group in self.few)

    @cached_property
    def state(self) -> dict[str, torch.Tensor]:
        """Running values of the objective that checks may change without changing the run's."""
        return dict(self.learner.state)

    def _size(self, group: Group) -> int:
        return len(group.responses) if self.learner.needs.head == "score" else group.scored

    @contextmanager
    def training(self) -> Iterator[None]:
        """Put the policy into training mode, and back into that of the run."""
        self.learner.policy.train()
        try:
            yield
        finally:
            self.learner.policy.train(self.opening.config.train.checkpointing)


def singles(groups: Sequence[Group]) -> list[Group]:
    """Return every response as a group of its own, behind a prompt of its own."""
    return [
        replace(group, responses=(ids,), loss=(mask,), edges=np.zeros((0, 2), np.int32), columns=Columns())
        for group in groups
        for ids, mask in zip(group.responses, group.loss, strict=True)
    ]


def difference(values: Floats, others: Floats) -> float:
    """Return max |Δ| / max(1, |log π|); NaN, which no tolerance allows, where a number is none or counts differ."""
    if len(values) != len(others):
        return float("nan")
    apart = np.abs(values - others) / np.maximum(np.abs(others), 1.0)
    return float(apart.max(initial=0.0))
