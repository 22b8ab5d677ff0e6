"""A name or folder → model and tokenizer, with dropout off and a fingerprint of the weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..batch.needs import Head
from ..config import LoraConfig
from ..errors import ModelError
from ..network import hub_answers
from . import adapters, fingerprint, scalar
from .anatomy import unwrapped
from .dropout import switch_off_dropout
from .quiet import no_bars


@dataclass(frozen=True)
class Loaded:
    """A model ready for training or scoring.

    Attributes:
        model: The transformers model, or the PEFT model around it.
        tokenizer: Its tokenizer.
        name: What was asked for, `NAME[@revision]` or a folder.
        dtype: Dtype of the source's weights, in which the result is saved.
        fingerprint: Hash of weights and config (of base and adapter); the same weights give the same.
        adapter: "none", "fresh" (made here) or "loaded" (the source is an adapter).
        base: Name of the model under the adapter; without one, `name`.
        dropouts: Dropouts that were set to 0, as name → what it was.
        head: What it ends in: "lm", or "score" for a reward model.
        head_origin: Where a score head comes from, in words; "" for a language model.
    """

    model: Any
    tokenizer: Any
    name: str
    dtype: torch.dtype
    fingerprint: str
    adapter: adapters.Kind = "none"
    base: str = ""
    dropouts: dict[str, float] = field(default_factory=dict)
    head: Head = "lm"
    head_origin: str = ""

    @property
    def parameters(self) -> int:
        """Number of weights, a tied one counted once, an adapter's frozen copy not at all."""
        return sum(p.numel() for n, p in self.model.named_parameters() if f".{adapters.REFERENCE}." not in n)

    @property
    def trainable(self) -> int:
        """Number of weights in training."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)


def split_revision(name: str) -> tuple[str, str | None]:
    """Split `NAME@revision` into name and revision; a folder is taken as it is."""
    if Path(name).exists() or "@" not in name:
        return name, None
    source, revision = name.rsplit("@", 1)
    return source, revision


def load_tokenizer(name: str) -> Any:
    """Return the tokenizer of a folder or hub name `NAME[@revision]`.

    Raises:
        ModelError: There is none, or it has no end-of-sequence token.
    """
    from transformers import AutoTokenizer

    source, revision = split_revision(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            source, revision=revision, trust_remote_code=False, local_files_only=_local_only(source)
        )
    except (OSError, ValueError) as error:
        raise _unreadable("tokenizer", name, error) from error
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f'the tokenizer of "{name}" has no end-of-sequence token, so a response could never end; '
            "set eos_token in its tokenizer_config.json."
        )
    return tokenizer


def load_model(
    name: str,
    *,
    dtype: torch.dtype = torch.float32,
    lora: LoraConfig | None = None,
    seed: int = 0,
    frozen: bool = False,
    head: Head | None = "lm",
) -> Loaded:
    """Load a causal language model, or a reward model; with `lora`, put a fresh adapter on it.

    A folder or name that holds a PEFT adapter loads its base and the adapter, trainable, with a frozen copy of the
    adapter beside it as the reference. Only safetensors are read, and no code from the source is run. Every dropout
    is set to 0, because a shared prompt assumes a deterministic forward. Trainable weights are float32, or wider
    where `dtype` is. A reward model whose source is a language model gets a fresh scalar head (`scalar.fresh`).

    Args:
        name: Folder, or hub name `NAME[@revision]`.
        dtype: Dtype of frozen weights.
        lora: Adapter to create, or None.
        seed: Seed of a fresh adapter's weights.
        frozen: Train nothing, so that every weight has `dtype`.
        head: What it shall end in; None for what the source does.

    Raises:
        ModelError: Missing, not in safetensors, multimodal, encoder-decoder, an adapter asked for twice, or a reward
            model where a language model is asked for.
    """
    base, adapter = _base_of(name)
    head = _settled_head(name, head, adapter, lora)
    model, origin, source_dtype = _whole(base, dtype, head, seed)
    kind: adapters.Kind = "none"
    if adapter is not None:
        model, kind = adapters.attach(model, adapter), "loaded"
    elif lora is not None:
        model, kind = adapters.create(model, lora, seed, head), "fresh"
    if frozen:
        model.requires_grad_(False)
    _widen(model, torch.float64 if dtype == torch.float64 else torch.float32)
    tokenizer = load_tokenizer(name if _stored(name, "tokenizer_config.json") else base)
    if head == "score" and adapter is not None:
        scalar.pad_as(model, tokenizer)
    return Loaded(
        model=model,
        tokenizer=tokenizer,
        name=name,
        dtype=source_dtype,
        fingerprint=stored_fingerprint(name),
        adapter=kind,
        base=base,
        dropouts=switch_off_dropout(model),
        head=head,
        head_origin=origin if adapter is None else f"as stored in {name}",
    )


def _settled_head(name: str, head: Head | None, adapter: Path | None, lora: LoraConfig | None) -> Head:
    """Return what the model shall end in, where that and its adapters go together.

    Raises:
        ModelError: They do not.
    """
    if adapter is not None and lora is not None:
        raise ModelError(
            f'"{name}" is an adapter already, and lora asks for a second one; leave lora out to train it further, '
            "or merge it into its base first with: logratio export --merge."
        )
    stored = stored_head(name)
    head = head or stored
    if head == "lm" and stored == "score":
        raise ModelError(
            f'"{name}" is a reward model (it ends in a scalar head), so it predicts no tokens; '
            "use a causal language model here, or --objective reward to train it further."
        )
    if head == "score" and stored == "lm" and adapter is not None:
        raise ModelError(
            f'"{name}" is an adapter of a language model, which a scalar head cannot be trained beside; merge it into '
            "its base first with: logratio export --merge."
        )
    return head


def stored_fingerprint(name: str) -> str:
    """Return the fingerprint of a folder or hub name, or of an adapter there with its base, without loading it."""
    base, adapter = _base_of(name)
    return fingerprint.of_folders([_folder(base), *([] if adapter is None else [adapter])])


def stored_head(name: str) -> Head:
    """Return what a folder or hub name, or an adapter there, ends in."""
    adapter = _stored(name, "adapter_config.json")
    if adapter is not None and json.loads(adapter.read_text(encoding="utf-8")).get("task_type") == "SEQ_CLS":
        return "score"
    config = _stored(_base_of(name)[0], "config.json")
    if config is None:  # loading says so
        return "lm"
    return scalar.head_of(json.loads(config.read_text(encoding="utf-8")).get("architectures") or ())


def loaded(model: Any, tokenizer: Any, name: str = "in memory", *, hold: bool = False) -> Loaded:
    """Describe a model that is in memory already; its fingerprint is that of its weights.

    A PEFT model counts as a loaded adapter; with `hold`, a frozen copy of it is put beside it as the reference.
    """
    kind: adapters.Kind = "none"
    if adapters.is_peft(model):
        kind = "loaded"
        adapters.drop_held(model)  # of an earlier run
    print_of_weights = fingerprint.of_weights(model)
    if kind == "loaded" and hold:
        adapters.hold(model)
    head = scalar.head_of([type(unwrapped(model)).__name__])
    return Loaded(
        model=model,
        tokenizer=tokenizer,
        name=name,
        dtype=next(model.parameters()).dtype,
        fingerprint=print_of_weights,
        adapter=kind,
        base=name,
        dropouts=switch_off_dropout(model),
        head=head,
        head_origin="of the model given" if head == "score" else "",
    )


def known_positions(name: str) -> int | None:
    """Return how many positions a model, or an adapter's base, knows by its config; None where it sets no limit.

    Raises:
        ModelError: It is missing.
    """
    limit: int | None = getattr(base_config(name), "max_position_embeddings", None)
    return limit


def base_config(name: str) -> Any:
    """Return the transformers config of a model, or of an adapter's base, without its weights.

    Raises:
        ModelError: It is missing.
    """
    from transformers import AutoConfig

    source, revision = split_revision(_base_of(name)[0])
    try:
        return AutoConfig.from_pretrained(
            source, revision=revision, trust_remote_code=False, local_files_only=_local_only(source)
        )
    except (OSError, ValueError) as error:
        raise _unreadable("model", name, error) from error


def stored_adapter(name: str) -> bool:
    """Return whether a folder or hub name holds an adapter."""
    return _stored(name, "adapter_config.json") is not None


def _base_of(name: str) -> tuple[str, Path | None]:
    """Return the name of the model under an adapter, and the adapter's folder; a model is its own base."""
    adapter = _stored(name, "adapter_config.json")
    if adapter is None:
        return name, None
    stored = json.loads(adapter.read_text(encoding="utf-8"))
    return "@".join(filter(None, (stored["base_model_name_or_path"], stored.get("revision")))), adapter.parent


def _widen(model: nn.Module, dtype: torch.dtype) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)


def _whole(name: str, dtype: torch.dtype, head: Head, seed: int) -> tuple[Any, str, torch.dtype]:
    """Load the model proper; return it, where a score head comes from, and its source's dtype."""
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM

    no_bars()
    source, revision = split_revision(name)
    where: dict[str, Any] = {"revision": revision, "local_files_only": _local_only(source)}
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False, **where)
        _refuse(name, config)
        source_dtype = config.dtype or torch.float32
        where |= {"config": config, "dtype": dtype, "use_safetensors": True, "trust_remote_code": False}
        with _no_bars():
            if head == "score":
                return *scalar.load(source, where, seed), source_dtype
            return AutoModelForCausalLM.from_pretrained(source, **where), "", source_dtype
    except (OSError, ValueError, SafetensorError) as error:
        raise _unreadable("model", name, error) from error


@contextmanager
def _no_bars() -> Iterator[None]:
    """Keep transformers' progress bars out of the run's own lines."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _refuse(name: str, config: Any) -> None:
    kind = config.model_type
    if any(hasattr(config, part) for part in ("vision_config", "audio_config", "image_token_id", "audio_token_id")):
        raise ModelError(
            f'"{name}" is a multimodal model ({kind}), and only text is trained here; use a text-only checkpoint.'
        )
    if config.is_encoder_decoder:
        raise ModelError(
            f'"{name}" is an encoder-decoder ({kind}), and responses are scored by a decoder alone; '
            "use a causal language model."
        )


def _unreadable(what: str, name: str, error: Exception) -> ModelError:
    tried = f"folder {Path(name).resolve()}" if Path(name).exists() else f'no folder "{name}", then the hub'
    first = str(error).strip().split("\n")[0].rstrip(".")
    if _local_only(name):
        first = "the hub cannot be reached from here, and its cache on this machine does not hold that name"
    return ModelError(
        f'{what} "{name}" could not be loaded (tried: {tried}; {first}); give a folder with config.json, tokenizer '
        "and *.safetensors, or a hub name NAME[@revision]; pickled weights and remote code are never loaded."
    )


def _local_only(name: str) -> bool:
    """Whether a name that is no folder must be found in the cache: the hub must not be asked, or is silent."""
    from huggingface_hub import constants

    return not Path(name).exists() and (constants.HF_HUB_OFFLINE or not hub_answers())


def _stored(name: str, file: str) -> Path | None:
    """Return a file of a folder or hub name, or None where it has none."""
    from transformers.utils import cached_file

    source, revision = split_revision(name)
    if Path(source).is_dir():
        path = Path(source) / file
        return path if path.is_file() else None
    try:
        found = cached_file(
            source,
            file,
            revision=revision,
            local_files_only=_local_only(source),
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except (OSError, ValueError) as error:  # a path that does not exist is no hub name either
        raise _unreadable("model", name, error) from error
    return None if found is None else Path(found)


def _folder(name: str) -> Path:
    """Return the folder in which a model's files lie, the hub's cache included."""
    config = _stored(name, "config.json")
    if config is None:
        raise ModelError(f'"{name}" has no config.json; give a folder or hub name that holds a whole model.')
    return config.parent
