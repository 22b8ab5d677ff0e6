"""Whether responses are drawn from the weights as they now are, which no check before the first step can see."""

from __future__ import annotations

from dataclasses import dataclass

from ...findings import Finding
from ..phases import Phases
from .amount import Figures
from .steps import Row

_EASE = 8
_NAME = "sampler_mismatch"


@dataclass
class Follows:
    """Compares sampler and trainer as a phase begins, the first one after a weight has moved.

    Attributes:
        phases: Which steps begin one.
        bound: Nats a token that are rounding.
        built_in: Whether the sampler draws from the trained weights themselves, not from an engine's copy.
    """

    phases: Phases
    bound: float
    built_in: bool
    _before: float = 0.0
    _told: bool = False

    def due(self, done: int, row: Row, *, moved: bool) -> bool:
        """Whether there is something to compare in the row of step `done`, counted from 1.

        Args:
            done: Steps completed.
            row: The last one's.
            moved: Whether any weight had moved before it.
        """
        if self._told or _NAME not in row or not self.phases.place(done - 1).first:
            return False
        if not moved:
            self._before = max(self._before, float(row[_NAME]))
        return moved

    def finding(self, done: int, row: Row) -> Finding:
        """Say how far sampler and trainer are apart in that row."""
        self._told = True
        apart, phase = float(row[_NAME]), self.phases.place(done - 1).phase + 1
        allowed = max(self.bound, _EASE * self._before)
        figures: Figures = {"apart": apart, "before": self._before, "allowed": allowed, "phase": phase}
        says = f"sampler and trainer are {apart:.2g} nat a token apart, {self._before:.2g} before any weight moved"
        if apart <= allowed:
            return Finding("sampler_follows", "fine", f"As phase {phase} begins, {says}.", figures=figures)
        says = f"As phase {phase} begins, {says}: responses are drawn from other weights than those that are trained."
        if self.built_in:
            return Finding("sampler_follows", "stop", says, "Report it with the model's name.", figures)
        return Finding(
            "sampler_follows", "look", says, "Look whether the engine takes the weights it is sent.", figures
        )
