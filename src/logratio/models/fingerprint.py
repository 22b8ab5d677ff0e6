"""Hashes of weights: the same weights, config and adapter give the same one, wherever they lie."""

from __future__ import annotations

import json
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


_TOLD = ("_name_or_path", "transformers_version", "use_cache")
"""Entries of a configuration that no log-prob depends on."""


def of_weights(model: nn.Module) -> str:
    """Hash a model in memory: weights by name, dtype, shape and content, and what its configurations say.

    The same weights with another window, say, or another scale of an adapter, are another distribution.
    """
    parts: list[Any] = [_configured(model)]
    for name, weight in sorted(model.state_dict().items()):
        body = weight.detach().cpu().contiguous()
        parts += [name, str(body.dtype), list(body.shape), body.reshape(-1).view(torch.uint8).numpy()]
    return content_hash(*parts)


def _configured(model: nn.Module) -> str:
    config, adapters = getattr(model, "config", None), getattr(model, "peft_config", {})
    told = {} if config is None else {k: v for k, v in config.to_dict().items() if k not in _TOLD}
    return json.dumps(
        [told, {name: adapter.to_dict() for name, adapter in adapters.items()}], sort_keys=True, default=_listed
    )


def _listed(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, (set, frozenset)) else str(value)
