"""A value head on a policy's own hidden states, as a folder: its weights and what they belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import ModelError
from ..files import atomic_folder, write_json

WEIGHTS, ABOUT = "value.safetensors", "value.json"


def save_head(weights: Mapping[str, Tensor], to: Path, *, of: str) -> Path:
    """Write a head: `value.safetensors` with `score.weight` [1, D] and `score.bias` [1], float32, and `value.json`.

    Args:
        weights: Those two.
        to: Folder; an earlier one of that name is replaced once the new one is complete.
        of: The model whose last hidden states it reads, as a path from the folder.

    Raises:
        LogratioError: The folder is not writable, or the disk is full.
    """
    with atomic_folder(to) as folder:
        full = {name: weight.detach().float().cpu().contiguous() for name, weight in weights.items()}
        save_file(full, folder / WEIGHTS)
        about = {"kind": "value head", "hidden_size": full["score.weight"].shape[-1], "model": of}
        write_json(folder / ABOUT, about)
    return to


def load_head(folder: Path, width: int) -> dict[str, Tensor]:
    """Read what `save_head` wrote.

    Args:
        folder: That folder.
        width: D of the model that it is to be put on.

    Raises:
        ModelError: There is none, or it belongs to hidden states of another width.
    """
    try:
        weights = load_file(folder / WEIGHTS)
        found = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["hidden_size"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"{folder} holds no value head ({WEIGHTS} and {ABOUT}); give the value/ folder of a run with a shared "
            "body, or leave value.start out."
        ) from error
    if found != width:
        raise ModelError(
            f"the value head in {folder} reads hidden states of width {found}, and this model's have {width}; give "
            "one of the same model, or leave value.start out."
        )
    return weights
