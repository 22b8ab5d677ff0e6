"""The run directory: all that a run leaves, claimed by one run at a time."""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from ..errors import RunError
from ..files import atomic_path, write_json

LOGS = ("metrics.jsonl", "samples.jsonl", "margins.jsonl")


class RunDirectory:
    """An open run directory. Only rank 0 writes: on other ranks, which hold no lock, writing does nothing.

    Attributes:
        path: Where it lies.
    """

    def __init__(self, path: Path, lock: IO[str] | None) -> None:
        self.path = path
        self._lock = lock
        self._made = False

    @classmethod
    def create(cls, path: Path) -> RunDirectory:
        """Claim a new directory, or one whose run never made a step.

        Raises:
            RunError: Not writable, in use, or already holding a run.
        """
        new = not path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"output {path} cannot be made ({error.strerror}); choose a folder you can write to with --output."
            ) from error
        run = cls(path, _claim(path))
        try:
            run._refuse_used()
        except RunError:
            run.close()
            raise
        for name in LOGS:
            (path / name).write_text("", encoding="utf-8")
        run._made = new
        return run

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Claim a directory to resume.

        Raises:
            RunError: It holds no run, or is in use.
        """
        if not (path / "config.yaml").is_file():
            raise RunError(f"{path} holds no run (config.yaml is missing), so nothing can be resumed; check the path.")
        return cls(path, _claim(path))

    def _refuse_used(self) -> None:
        steps = self.steps_made()
        if steps or self.checkpoints():
            raise RunError(
                f"output {self.path} already holds a run of {steps} steps; continue it with --resume {self.path}, "
                "or choose another --output."
            )
        strangers = [item.name for item in self.path.iterdir() if item.name not in _OWN]
        if strangers:
            raise RunError(
                f"output {self.path} holds files that are not a run's ({', '.join(sorted(strangers)[:3])}); "
                "choose an empty or new folder with --output."
            )

    def discard(self) -> None:
        """Remove a directory that this process made and whose run was refused before there was anything to look at.

        Nothing is removed once there is a recipe, a finding or a line of a log.
        """
        left = {item.name for item in self.path.iterdir()} if self._made and self._lock is not None else {""}
        if left <= {".lock", "manifest.json", *LOGS} and not any((self.path / name).stat().st_size for name in LOGS):
            shutil.rmtree(self.path, ignore_errors=True)

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes."""
        return self._lock is not None

    def close(self) -> None:
        """Let another process claim the directory."""
        if self._lock is not None:
            self._lock.close()

    def checkpoints(self) -> list[Path]:
        """Return complete checkpoints, oldest first."""
        return sorted((self.path / "checkpoints").glob("step-*"))

    def steps_made(self) -> int:
        """Return the number of training rows in the metrics."""
        try:
            lines = (self.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return 0
        return sum(1 for line in lines if '"kind": "train"' in line)

    def append(self, log: str, row: Mapping[str, Any]) -> None:
        """Add one line to a log; a number that is not finite becomes null."""
        if self._lock is None:
            return
        line = json.dumps(_finite(row), ensure_ascii=False, allow_nan=False) + "\n"
        try:
            with open(self.path / log, "a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise RunError(
                f"{self.path / log} could not be written ({error.strerror}); checkpoints are intact: "
                f"free space, then continue with --resume {self.path}."
            ) from error

    def offsets(self) -> dict[str, int]:
        """Return the length in bytes of each log, which is on disk before a checkpoint that records it."""
        for name in LOGS:
            with open(self.path / name, "rb") as file:
                os.fsync(file.fileno())
        return {name: (self.path / name).stat().st_size for name in LOGS}

    def cut(self, offsets: Mapping[str, int]) -> None:
        """Cut the logs back to what they held at a checkpoint; without one, to nothing."""
        for name in LOGS if self._lock else ():
            with open(self.path / name, "ab") as file:
                file.truncate(min(offsets.get(name, 0), file.tell()))

    def config(self, text: str) -> None:
        """Write `config.yaml`: from now on the run can be resumed."""
        if self._lock is not None:
            with atomic_path(self.path / "config.yaml") as temporary:
                temporary.write_text(text, encoding="utf-8")

    def manifest(self, **changes: Any) -> dict[str, Any]:
        """Merge entries into `manifest.json` and return it."""
        file = self.path / "manifest.json"
        entries: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        entries.update(changes)
        if changes and self._lock is not None:
            write_json(file, entries)
        return entries


_OWN = {".lock", "config.yaml", "manifest.json", "preflight.json", "checkpoints", "report.html", "tensorboard", "wandb"}
_OWN |= {"findings.json", "pairs.jsonl", "rollouts", *LOGS}
"""What may be there of a run that never made a step."""
_WRITTEN_WHOLE = (
    "config.yaml",
    "manifest.json",
    "preflight.json",
    "evaluation.json",
    "findings.json",
    "pairs.jsonl",
    "report.html",
    "model",
    "checkpoints/step-????????",
    "rollouts/phase-??????.jsonl",
    "rounds/??",
)
"""What appears under its name only when it is complete."""


def _claim(path: Path) -> IO[str]:
    """Lock a directory, and remove what a killed run was in the middle of writing."""
    try:
        lock = open(path / ".lock", "w", encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"output {path} is not writable ({error.strerror}); choose another folder with --output."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise RunError(f"{path} is in use by another process; wait for it, or choose another --output.") from error
    _sweep(path)
    return lock


def _sweep(path: Path) -> None:
    """Remove hidden leavings of what is written whole, and nothing else: the folder may turn out to be someone's."""
    hidden = [
        str(Path(name).with_name(f".{Path(name).name}*.{end}")) for name in _WRITTEN_WHOLE for end in ("tmp", "old")
    ]
    for left in (found for pattern in hidden for found in path.glob(pattern)):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return value
