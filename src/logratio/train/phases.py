"""Which batches of prompts are drawn for together, and which of a run's steps learn from them."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

from ..config import RolloutConfig
from ..errors import ConfigError


@dataclass(frozen=True)
class Place:
    """Where a step stands.

    Attributes:
        phase: Counted from 0.
        epoch: Pass over what the phase drew, from 0.
        batch: Batch of the phase, from 0.
    """

    phase: int
    epoch: int
    batch: int

    @property
    def first(self) -> bool:
        """Whether the policy is still the one that drew."""
        return self.epoch == 0 and self.batch == 0


@dataclass(frozen=True)
class Phases:
    """A run's batches of prompts, divided into phases that run through theirs `epochs` times.

    Attributes:
        bounds: Batch with which each phase begins, and the number of batches.
        epochs: Passes over what a phase drew.
    """

    bounds: tuple[int, ...]
    epochs: int

    @classmethod
    def of(cls, batches: int, rollout: RolloutConfig) -> Phases:
        """Divide so many batches of prompts.

        Raises:
            ConfigError: There are fewer batches than rounds.
        """
        if rollout.rounds is None:
            return cls((*range(0, batches, rollout.every or 1), batches), rollout.epochs)
        if rollout.rounds > batches:
            raise ConfigError(
                f"rollout.rounds is {rollout.rounds}, but the prompts make {batches} batches, and a round draws for "
                "one or more; lower it, lower train.batch_size, or raise train.epochs."
            )
        return cls(tuple(batches * i // rollout.rounds for i in range(rollout.rounds + 1)), rollout.epochs)

    @property
    def count(self) -> int:
        """Number of phases."""
        return len(self.bounds) - 1

    @property
    def steps(self) -> int:
        """Optimiser steps in the run."""
        return self.bounds[-1] * self.epochs

    @cached_property
    def _begins(self) -> list[int]:
        return [bound * self.epochs for bound in self.bounds[:-1]]

    def batches(self, phase: int) -> range:
        """Return the batches of prompts that a phase draws for."""
        return range(self.bounds[phase], self.bounds[phase + 1])

    def steps_of(self, phase: int) -> range:
        """Return the steps that learn from what a phase drew, counted from 0."""
        return range(self.bounds[phase] * self.epochs, self.bounds[phase + 1] * self.epochs)

    def place(self, step: int) -> Place:
        """Return where a step stands, counted from 0."""
        phase = bisect_right(self._begins, step) - 1
        epoch, batch = divmod(step - self._begins[phase], len(self.batches(phase)))
        return Place(phase, epoch, batch)
