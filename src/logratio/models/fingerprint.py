"""Hashes of weights: the same weights, config and adapter give the same one, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..files import content_hash, remembered_sha256


def of_folders(folders: Iterable[Path]) -> str:
    """Hash the weight files and configs of model folders, base first; an unchanged file is read once only."""
    names = ("config.json", "adapter_config.json")
    parts: list[Any] = []
    for folder in folders:
        files = sorted(folder.glob("*.safetensors")) + [folder / name for name in names if (folder / name).is_file()]
        parts.append([[file.name, remembered_sha256(file)] for file in files])
    return content_hash(parts)


def of_weights(model: nn.Module) -> str:
    """Hash the weights of a model in memory, by name, dtype, shape and content."""
    parts: list[Any] = []
    for name, weight in sorted(model.state_dict().items()):
        body = weight.detach().cpu().contiguous()
        parts += [name, str(body.dtype), list(body.shape), body.reshape(-1).view(torch.uint8).numpy()]
    return content_hash(*parts)
