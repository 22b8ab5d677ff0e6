"""The diagnosis while a run goes on: findings after each evaluation, a warning for each that is new or has risen."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..config import RunConfig
from ..diagnose.history import About, Digest
from ..diagnose.run import Course, diagnose, write_findings
from ..errors import CollapseError
from ..findings import LEVELS, Finding, Level
from .rundir import RunDirectory


@dataclass
class Watch:
    """Reads the rows that a run writes, on the process that writes them; on others it has nothing to do.

    Attributes:
        run: The run directory.
        config: The resolved recipe.
        steps: Steps planned.
        emit: Tells listeners.
    """

    run: RunDirectory
    config: RunConfig
    steps: int
    emit: Callable[..., None]
    _digest: Digest = field(default_factory=Digest)
    _course: Course = field(default_factory=Course)
    _told: dict[str, Level] = field(default_factory=dict)
    _collapsed: str = ""

    def restore(self) -> None:
        """Take the rows that a resumed run has written already; what they give rise to was told when they came."""
        if not self.run.writes:
            return
        with open(self.run.path / "metrics.jsonl", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                self._digest.add(row)
                if row["kind"] == "eval":
                    self._told |= {finding.name: finding.level for finding in self._findings()}

    def add(self, row: Mapping[str, Any]) -> None:
        """Take a row as it is written."""
        if self.run.writes:
            self._digest.add(row)

    def look(self, done: int) -> None:
        """Write `findings.json` after an evaluation, and warn of what is new from level look on."""
        if not self.run.writes:
            return
        found = self._findings()
        write_findings(self.run.path, found)
        for finding in found:
            grave = LEVELS.index(finding.level)
            if grave >= LEVELS.index("look") and grave > LEVELS.index(self._told.get(finding.name, "fine")):
                self.emit("warning", text=f"step {done}, {finding.name}: {finding.says} {finding.remedy}".rstrip())
            self._told[finding.name] = finding.level
        gone = [finding.says for finding in found if (finding.name, finding.level) == ("collapse", "stop")]
        self._collapsed = gone[0] if gone else ""

    def require_sound(self, done: int, told: Callable[[str], str]) -> None:
        """Stop a run whose samples have collapsed, where `stop_on` asks for it.

        Args:
            done: Steps completed.
            told: Gives all processes what the writing one says.

        Raises:
            CollapseError: They have; all processes raise it.
        """
        if self.config.stop_on is not None and (said := told(self._collapsed)):
            raise CollapseError(
                f"stopped after step {done}, since samples have collapsed and stop_on is collapse: {said} Checkpoints "
                f"are kept; lower train.lr{self._about.nearer(' or ')}, or leave stop_on out to go on regardless."
            )

    def _findings(self) -> list[Finding]:
        history = self._digest.history(self._about)
        return self._course.after(history.step, diagnose(history))

    @property
    def _about(self) -> About:
        return About.of(self.config.model_dump(mode="json"), self.steps)
