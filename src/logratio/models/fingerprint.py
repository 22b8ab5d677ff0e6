"""Hashes of weights: the same weights, config and adapter give the same one, wherever they lie."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..files import cache_root, content_hash, sha256_file, write_json


def of_folders(folders: Iterable[Path]) -> str:
    """Hash the weight files and configs of model folders, base first; each file is read once.

    A file's hash is remembered in the cache folder under its path, size and modification time.
    """
    names = ("config.json", "adapter_config.json")
    parts: list[Any] = []
    for folder in folders:
        files = sorted(folder.glob("*.safetensors")) + [folder / name for name in names if (folder / name).is_file()]
        parts.append([[file.name, _remembered(file)] for file in files])
    return content_hash(parts)


def of_weights(model: nn.Module) -> str:
    """Hash the weights of a model in memory, by name, dtype, shape and content."""
    parts: list[Any] = []
    for name, weight in sorted(model.state_dict().items()):
        body = weight.detach().cpu().contiguous()
        parts += [name, str(body.dtype), list(body.shape), body.reshape(-1).view(torch.uint8).numpy()]
    return content_hash(*parts)


def _remembered(file: Path) -> str:
    """Return a file's SHA-256, from memory where path, size and modification time are as they were."""
    path = file.resolve()
    state = path.stat()
    key = [str(path), state.st_size, state.st_mtime_ns]
    note = cache_root() / "hashes" / f"{content_hash(key)}.json"
    if note.is_file():
        known = json.loads(note.read_text(encoding="utf-8"))
        if known["key"] == key:
            return str(known["sha256"])
    digest = sha256_file(path)
    write_json(note, {"key": key, "sha256": digest})
    return digest
