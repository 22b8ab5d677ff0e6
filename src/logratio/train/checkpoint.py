"""Checkpoints: whole or absent, safetensors and JSON, checked by hash when read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import CheckpointError
from ..files import atomic_folder, content_hash, sha256_file

STATE = "state.safetensors"
PROGRESS = "state.json"


@dataclass(frozen=True)
class Progress:
    """What a run needs beside its tensors to go on as if it had never stopped.

    Attributes:
        step: Steps completed.
        reference: Identity of the reference's log-probs, "" without one.
        offsets: Length of each log in bytes.
        best: Metric, value and step of the best checkpoint so far; empty unless asked for.
        state: Running values of the objective; empty for most.
    """

    step: int
    reference: str
    offsets: Mapping[str, int]
    best: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, float] = field(default_factory=dict)


def name_of(step: int) -> str:
    """Return the name of a step's checkpoint; names sort by step."""
    return f"step-{step:08d}"


def save(folder: Path, tensors: Mapping[str, Tensor], progress: Progress) -> Path:
    """Write the checkpoint of `progress.step` into `folder`; a kill at any moment leaves the earlier ones as they were.

    Raises:
        LogratioError: The folder is not writable, or the disk is full.
    """
    final = folder / name_of(progress.step)
    with atomic_folder(final) as new:
        save_file(dict(tensors), new / STATE)
        told = asdict(progress)
        hashes = {STATE: sha256_file(new / STATE), PROGRESS: content_hash(told)}
        (new / PROGRESS).write_text(json.dumps({**told, "hashes": hashes}, indent=2), encoding="utf-8")
    return final


def load(path: Path) -> tuple[dict[str, Tensor], Progress]:
    """Read a checkpoint.

    Raises:
        CheckpointError: A part is missing, or its hash differs from the recorded one.
    """
    remedy = f"delete {path} to continue from the checkpoint before it, or start a new run."
    try:
        meta = json.loads((path / PROGRESS).read_text(encoding="utf-8"))
        recorded = meta.pop("hashes")
        for part, found in ((STATE, sha256_file(path / STATE)), (PROGRESS, content_hash(meta))):
            if found != recorded[part]:
                raise CheckpointError(f"checkpoint {path} is corrupt: {part} does not match its hash; {remedy}")
        return load_file(path / STATE), Progress(**meta)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"checkpoint {path} is incomplete or unreadable ({error}); {remedy}") from error


def keep_last(checkpoints: Sequence[Path], most: int, *, best: str | None = None) -> None:
    """Remove all but the newest `most` (given oldest first) and the one named `best`."""
    for old in checkpoints[:-most]:
        if old.name != best:
            _remove(old)


def _remove(path: Path) -> None:
    """Remove a checkpoint as a whole: a kill leaves it complete, or under a hidden name that the next start clears."""
    if path.exists():
        hidden = path.with_name(f".{path.name}.old")
        shutil.rmtree(hidden, ignore_errors=True)
        os.replace(path, hidden)
        shutil.rmtree(hidden, ignore_errors=True)
