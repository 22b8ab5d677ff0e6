"""The shape of a model without its weights: enough to count parameters and to estimate memory in a second."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import ModelError
from .load import base_config


def skeleton(name: str) -> Any:
    """Return the causal language model of a folder or hub name with weights that have a shape and no storage.

    Of an adapter it is the base. Only `config.json` is read.

    Raises:
        ModelError: It is missing, or its architecture is no causal language model that transformers knows.
    """
    from transformers import AutoModelForCausalLM

    config = base_config(name)
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except ValueError as error:
        raise ModelError(
            f'"{name}" ({config.model_type}) is no causal language model that transformers knows, so it cannot answer '
            "a prompt; choose one that AutoModelForCausalLM loads."
        ) from error
