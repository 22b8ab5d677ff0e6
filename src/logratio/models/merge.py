"""A run's model as a folder of its own, an adapter folded into its base where that is asked for."""

from __future__ import annotations

import dataclasses
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import ModelError, RunError
from ..files import atomic_folder
from . import adapters, fingerprint
from .card import write_card
from .load import Loaded, load_model
from .save import PROVENANCE, provenance, save_model


def export(run_or_model: Path, to: Path, *, merge: bool) -> Path:
    """Write a run's `model/`, or a model folder, to `to`.

    Without `merge` the files are copied. With it, W + s·B·A takes the place of W and modules trained beside the adapter
    take the place of the base's, in float32, before the result is written in the base's dtype. A tied head that the
    adapter changed is written by itself and the config says that it is no longer tied.

    Raises:
        RunError: `to` exists and is not empty, or `run_or_model` holds no model.
        ModelError: Nothing to merge, or the base is not the one that the adapter was trained on.
        LogratioError: `to` is not writable, or the disk is full.
    """
    folder = model_folder(run_or_model)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise RunError(f"{to} exists and is not empty, and an export overwrites nothing; choose another folder.")
    if not merge:
        with atomic_folder(to) as copy:
            shutil.copytree(folder, copy, dirs_exist_ok=True)
        return to
    if not (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"{folder} holds a whole model and no adapter, so nothing is there to merge; leave out --merge."
        )
    _check_base(folder)
    loaded = load_model(str(folder), head=None)
    origin = {**provenance(loaded), "kind": "model"}
    save_model(merged(loaded), loaded.tokenizer, to, origin=origin)
    if (run_or_model / "manifest.json").is_file():
        write_card(run_or_model, to)
    return to


def merged(loaded: Loaded) -> Loaded:
    """Fold the active adapter into its base, whose modules are changed in place.

    Logits are those of the adapter up to rounding. The result's fingerprint is that of its weights.
    """
    model = loaded.model
    adapters.drop_held(model)
    tied = model.config.tie_word_embeddings
    _untie(model)  # else a change of the head would reach the embeddings too, and the reverse
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Input and output embeddings are no longer tied", category=UserWarning
        )
        whole = model.merge_and_unload(safe_merge=True)
    _settle_tie(whole, tied)
    content = fingerprint.of_weights(whole)
    return dataclasses.replace(loaded, model=whole, name=loaded.base, adapter="none", fingerprint=content)


def model_folder(path: Path) -> Path:
    """Return where the model of a run, or of a model folder, lies.

    Raises:
        RunError: There is none.
    """
    for folder in (path / "model", path):
        if any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
            return folder
    if (path / "config.yaml").is_file():
        raise RunError(
            f"{path} holds a run that has not finished (model/ is missing); "
            f"finish it with: logratio train --resume {path}"
        )
    raise RunError(
        f"{path} holds no model: neither config.json nor adapter_config.json is there or in {path / 'model'}; "
        "give a finished run or a model folder."
    )


def _check_base(folder: Path) -> None:
    """Refuse a base whose content is not the recorded one; one recorded by hub revision is fixed by that."""
    if not (folder / PROVENANCE).is_file():
        return
    base = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))["base"]
    if base["fingerprint"] is None or not Path(base["name"]).is_dir():
        return
    now = fingerprint.of_folders([Path(base["name"])])
    if now != base["fingerprint"]:
        raise ModelError(
            f"the base {base['name']} is not the one that this adapter was trained on (hash {now[:12]}, recorded "
            f"{base['fingerprint'][:12]}), so merging would give another model; restore it, or correct "
            f"base_model_name_or_path in {folder / 'adapter_config.json'} and delete {PROVENANCE}."
        )


def _untie(model: nn.Module) -> None:
    """Give every name of a shared weight a tensor of its own."""
    seen: set[int] = set()
    for name, parameter in list(model.named_parameters(remove_duplicate=False)):
        if id(parameter) in seen:
            owner, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(owner), leaf, nn.Parameter(parameter.detach().clone(), requires_grad=False))
        seen.add(id(parameter))


def _settle_tie(model: Any, tied: bool) -> None:
    """Tie head and embeddings again where they were and are still equal; else the config says that they are not."""
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings().weight
    if head is None:  # a reward model has no language-model head to tie
        return
    model.config.tie_word_embeddings = tied and head.weight.equal(embeddings)
    if model.config.tie_word_embeddings:
        model.tie_weights()
