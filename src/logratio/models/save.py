"""What a run leaves to be used: a folder that transformers loads by its auto classes, whole or absent."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..files import atomic_folder, write_json
from . import adapters, fingerprint
from .load import Loaded, split_revision
from .quiet import no_bars

PROVENANCE = "provenance.json"
"""Beside the weights: what they were trained from, by name, revision and content."""


def save_model(
    loaded: Loaded,
    tokenizer: Any,
    to: Path,
    *,
    state: Mapping[str, Tensor] | None = None,
    origin: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model, or the adapter on one, with tokenizer, chat template and generation config.

    Weights are safetensors: a model's in the dtype of its source, an adapter's in float32. A weight tied to another is
    written once. Dropouts that loading set to 0 are in the config what they were. `provenance.json` names the base by
    absolute path or hub name with revision, and by the hash of its weights.

    Args:
        loaded: The model and where it came from.
        tokenizer: Saved with its chat template.
        to: Folder; an earlier one of that name is replaced once the new one is complete.
        state: Trained weights by the names of `loaded.model.named_parameters()`, full, where the model's own are
            shards or copies of lower precision. What it does not name is taken from the model.
        origin: What `provenance.json` says, where it is not what `provenance(loaded)` returns.

    Raises:
        LogratioError: The folder is not writable, or the disk is full.
        ValueError: `state` names a weight that the model does not have, or leaves out one that is sharded.
    """
    no_bars()
    with atomic_folder(to) as folder:
        weights = _with_state(loaded.model, state or {})
        if adapters.is_peft(loaded.model):
            _save_adapter(loaded, weights, folder)
        else:
            _save_whole(loaded, weights, folder)
        if loaded.head == "lm":
            loaded.model.generation_config.to_json_file(folder / "generation_config.json")
        tokenizer.save_pretrained(folder)
        write_json(folder / PROVENANCE, origin or provenance(loaded))
    return to


def provenance(loaded: Loaded) -> dict[str, Any]:
    """Return what the saved weights are, and what they were trained from, as JSON values."""
    adapter = adapters.is_peft(loaded.model)
    source, revision = split_revision(loaded.base if adapter else loaded.name)
    content: str | None = loaded.fingerprint
    if Path(source).is_dir():
        source = str(Path(source).resolve())
        content = fingerprint.of_folders([Path(source)])
    elif loaded.adapter == "loaded":  # that fingerprint covers the adapter too
        content = None
    commit = getattr(loaded.model.config, "_commit_hash", None)
    base = {"name": source, "revision": revision or commit, "fingerprint": content}
    return {"kind": "adapter" if adapter else "model", "base": base, "dtype": _dtype_name(loaded.dtype)}


def _with_state(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the model's state dict with trained weights in place; names of one tied weight share one tensor."""
    first: dict[int, str] = {}
    canonical = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        canonical[name] = first.setdefault(id(parameter), name)
    unknown = sorted(set(state) - set(canonical))
    if unknown:
        raise ValueError(f"trained weights {unknown[:3]} are not in the model")
    trained = {canonical[name]: weight for name, weight in state.items()}
    return {name: trained.get(canonical.get(name, name), own) for name, own in model.state_dict().items()}


def _save_whole(loaded: Loaded, weights: Mapping[str, Tensor], folder: Path) -> None:
    from transformers import GenerationConfig

    model = loaded.model
    config, generation = model.config, getattr(model, "generation_config", None)
    cast: dict[tuple[int, ...], Tensor] = {}  # a tied weight once, so that it stays shared
    for weight in weights.values():
        if _key(weight) not in cast:
            cast[_key(weight)] = _converted(weight, loaded.dtype)
    model.config = copy.deepcopy(config)  # saving writes into it
    if generation is not None:
        model.generation_config = GenerationConfig()  # the source's own may break rules that only saving checks
    try:
        model.save_pretrained(folder, state_dict={name: cast[_key(weight)] for name, weight in weights.items()})
        model.config.dtype = loaded.dtype
        for name, value in loaded.dropouts.items():
            if name.startswith("config."):
                setattr(model.config, name.removeprefix("config."), value)
        model.config.save_pretrained(folder)
    finally:
        model.config = config
        if generation is not None:
            model.generation_config = generation


def _key(weight: Tensor) -> tuple[int, ...]:
    if hasattr(weight, "full_tensor"):
        raise ValueError("a sharded weight can be saved only where it is given in full")
    return (weight.data_ptr(), weight.storage_offset(), *weight.shape)


def _converted(weight: Tensor, dtype: torch.dtype) -> Tensor:
    weight = weight.detach().to("cpu", dtype if weight.is_floating_point() else None)
    return weight.contiguous()


def _save_adapter(loaded: Loaded, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Save the active adapter, modules trained beside it included, with the name of its base."""
    model, name = loaded.model, loaded.model.active_adapter
    base = provenance(loaded)["base"]
    model.peft_config[name].base_model_name_or_path = base["name"]
    model.peft_config[name].revision = base["revision"]
    part = {key: _converted(weight, torch.float32) for key, weight in weights.items() if f".{name}." in f"{key}."}
    model.save_pretrained(
        folder,
        selected_adapters=[name],
        state_dict=part,
        save_embedding_layers=False,  # frozen ones are in the base, trained ones are among the weights already
    )
    if name != "default":  # which alone goes into the folder itself
        for file in (folder / name).iterdir():
            file.rename(folder / file.name)
        (folder / name).rmdir()
    (folder / "README.md").unlink(missing_ok=True)


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
