"""Where a model computes, and where the numbers behind it are added up."""

from __future__ import annotations

import os

import torch

from ..errors import ConfigError

VARIABLE = "LOGRATIO_DEVICE"
"""Names a kind of device in place of the best one: cuda, mps or cpu."""

_WITHOUT_FLOAT64 = {"mps"}
_CPU = torch.device("cpu")


def best_device(number: int | None = None) -> torch.device:
    """Return the device of models: a GPU of CUDA, else one of Apple's, else the CPU; or what `LOGRATIO_DEVICE` names.

    Args:
        number: Of the GPU of CUDA, ≥ 0; default: the present one.

    Raises:
        ConfigError: The variable names none that torch has here.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    kinds = [kind for kind, has in there.items() if has]
    kind = os.environ.get(VARIABLE) or kinds[0]
    if kind not in kinds:
        raise ConfigError(
            f"{VARIABLE} is {kind}, and torch has only {' and '.join(kinds)} here: name one of these, or unset it."
        )
    if kind != "cuda":
        return torch.device(kind)
    return torch.device(kind, torch.cuda.current_device() if number is None else number)


def desk(device: torch.device) -> torch.device:
    """Return where losses, metrics and totals of a model on this device are computed, since they add up in float64.

    That is beside the model, or the CPU where its device has no float64, as Apple's has none.
    """
    return _CPU if device.type in _WITHOUT_FLOAT64 else device
