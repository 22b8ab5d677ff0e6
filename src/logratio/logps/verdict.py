"""Whether prompts are shared, remembered: the same weights, batch and code are not compared twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..batch.needs import Head
from ..batch.packed import PackedBatch
from ..files import cache_root, content_hash, sha256_file, write_json
from ..models import anatomy
from .policy import Policy, choose_path


def choose_path_once(policy: Policy, batch: PackedBatch, head: Head = "lm", *, model: Mapping[str, Any]) -> str:
    """Choose the path as `choose_path` does, or as it did before for the very same comparison; return it.

    A verdict is remembered in the cache folder, under all that it follows from: weights, config, batch, dtype, device,
    the libraries' versions and this package's own code of both paths. A model whose class is not one of transformers'
    may compute anything, and is compared each time.

    Args:
        policy: The policy.
        batch: The groups to compare on.
        head: What the model ends in.
        model: JSON-able parts that tell the model's weights apart from any other's.
    """
    inner = anatomy.unwrapped(policy.model)
    if policy.path == "plain" or not type(inner).__module__.startswith("transformers."):
        return choose_path(policy, batch, head)
    first = next(policy.parameters())
    parts = {"model": dict(model), "class": type(inner).__name__, "config": inner.config.to_dict(), "head": head}
    parts |= {"dtype": str(first.dtype), "device": first.device.type, **_code()}
    tokens = (batch.tokens_T, batch.positions_T, batch.source_R, batch.target_R)
    key = json.dumps(parts, sort_keys=True, default=str)
    note = cache_root() / "paths" / f"{content_hash(key, *(part.cpu().numpy() for part in tokens))}.json"
    known = _read(note)
    if known is None:
        choose_path(policy, batch, head)
        write_json(note, {"path": policy.path, "reason": policy.reason})
    else:
        policy.take("shared" if known["path"] == "shared" else "plain", f"{known['reason']}, found before")
    return policy.path


def _read(note: Path) -> dict[str, str] | None:
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        return {name: str(known[name]) for name in ("path", "reason")}
    except (OSError, ValueError, KeyError, TypeError):  # not there, or damaged: compare again
        return None


@cache
def _code() -> dict[str, Any]:
    """Return what both paths run on: versions, and hashes of the files in which they are written."""
    files = [*sorted(Path(__file__).parent.glob("*.py")), Path(anatomy.__file__)]
    return {
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
        "files": {file.name: sha256_file(file) for file in files},
    }
