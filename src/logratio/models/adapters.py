"""Low-rank adapters: made, loaded, switched off, and held as the reference."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ..batch.needs import Head
from ..config import LoraConfig
from ..errors import ModelError, ReferenceChoiceError
from .quiet import no_kernel_hints

Kind = Literal["none", "fresh", "loaded"]
"""Whether a model has an adapter, and where that came from."""

POLICY = "default"
"""Name of the adapter in training."""
REFERENCE = "reference"
"""Name of the frozen copy of a loaded adapter."""


def is_peft(model: nn.Module) -> bool:
    """Whether the model is a PEFT model (transformers' own adapter support is not counted)."""
    return hasattr(model, "get_base_model")


def create(model: Any, lora: LoraConfig, seed: int, head: Head = "lm") -> Any:
    """Put a fresh adapter on a model, whose own weights are frozen; its B is 0, so nothing changes yet.

    A reward model's scalar head is trained whole beside the adapter, and saved with it.

    Raises:
        ModelError: A target is not a module's name.
    """
    no_kernel_hints()
    import peft

    targets = "all-linear" if lora.targets == "all-linear" else _listed(lora.targets)
    config = peft.LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules=targets,
        fan_in_fan_out=_transposed(model, targets),
        bias="none",
        task_type="CAUSAL_LM" if head == "lm" else "SEQ_CLS",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            with quiet_peft():
                return peft.get_peft_model(model, config, adapter_name=POLICY)
        except ValueError as error:
            linear = sorted({name.rpartition(".")[2] for name, module in model.named_modules() if _is_linear(module)})
            raise ModelError(
                f"lora.targets {lora.targets} name no module of this model; its linear modules are {', '.join(linear)}."
            ) from error


def _listed(names: str | tuple[str, ...]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _is_linear(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, (nn.Linear, Conv1D))


def _transposed(model: nn.Module, targets: str | list[str]) -> bool:
    """Whether a target keeps its weight as [in, out], as GPT-2's layers do; "all-linear" names every layer."""
    from transformers.pytorch_utils import Conv1D

    names = (name for name, module in model.named_modules() if isinstance(module, Conv1D))
    return any(isinstance(targets, str) or any(f".{name}".endswith(f".{own}") for own in targets) for name in names)


def attach(model: Any, folder: Path) -> Any:
    """Load the adapter of a folder onto its base, trainable, and hold a frozen copy of it as the reference.

    Raises:
        ModelError: Its weights are not in safetensors.
    """
    no_kernel_hints()
    import peft

    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(
            f"the adapter in {folder} has no adapter_model.safetensors; pickled weights are never loaded, "
            "so save it again with safetensors."
        )
    with quiet_peft():
        with_adapter = peft.PeftModel.from_pretrained(model, str(folder), adapter_name=POLICY, is_trainable=True)
    hold(with_adapter)
    return with_adapter


def hold(model: Any) -> None:
    """Copy the active adapter, frozen, under the name `REFERENCE`."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    source = model.active_adapter
    flags = _flags(model)
    model.add_adapter(REFERENCE, copy.deepcopy(model.peft_config[source]))
    state = {
        name: weight.clone()
        for name, weight in get_peft_model_state_dict(model, adapter_name=source, save_embedding_layers=False).items()
    }
    set_peft_model_state_dict(model, state, adapter_name=REFERENCE)
    model.set_adapter(source)
    _restore(model, flags)


def drop_held(model: Any) -> None:
    """Remove the frozen copy that `hold` made, if there is one."""
    if REFERENCE in model.peft_config:
        model.delete_adapter(REFERENCE)


@contextmanager
def adapter_off(model: Any) -> Iterator[None]:
    """Compute with the base weights: adapters off, modules saved beside them (`modules_to_save`) off too.

    What is trainable is afterwards what it was before.
    """
    flags = _flags(model)
    try:
        with model.disable_adapter():
            yield
    finally:
        _restore(model, flags)


@contextmanager
def adapter_held(model: Any) -> Iterator[None]:
    """Compute with the frozen copy of the loaded adapter, as it was when loaded."""
    flags, active = _flags(model), model.active_adapter
    try:
        model.set_adapter(REFERENCE)
        yield
    finally:
        model.set_adapter(active)
        _restore(model, flags)


@contextmanager
def reference_view(loaded: Any, choice: Literal["start", "base"]) -> Iterator[None]:
    """Put a model into the state of its reference while the context lasts.

    | adapter | start | base |
    | --- | --- | --- |
    | fresh | base weights: the new adapter starts at 0 | the same |
    | loaded | the frozen copy of the adapter as loaded | base weights, adapter off |
    | none | the weights as they are: right before the first step only | an error: there is no base |

    Args:
        loaded: What `load_model` returned.
        choice: "start" (the model as it was loaded) or "base" (the weights under the adapter).

    Raises:
        ReferenceChoiceError: "base" of a model without an adapter.
    """
    if loaded.adapter == "none":
        if choice == "base":
            raise ReferenceChoiceError(
                f'reference: base means the weights under an adapter, and "{loaded.name}" has none; '
                "choose reference: start (the model as loaded) or reference: PATH."
            )
        yield
    elif loaded.adapter == "loaded" and choice == "start":
        with adapter_held(loaded.model):
            yield
    else:
        with adapter_off(loaded.model):
            yield


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Leave out warnings of what is meant.

    They are of a property that transformers renamed, of targets of which some are transposed and some are not (PEFT
    sets each right), and of an adapter on a tied head (the embeddings stay as they are, and merging unties them).
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to", category=UserWarning)
        warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`", category=UserWarning)
        yield


def _flags(model: nn.Module) -> dict[str, bool]:
    return {name: parameter.requires_grad for name, parameter in model.named_parameters()}


def _restore(model: nn.Module, flags: dict[str, bool]) -> None:
    """Set what is trainable; a parameter that was not there before is frozen."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(flags.get(name, False))
