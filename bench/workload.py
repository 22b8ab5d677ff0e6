"""What both sides are given: random weights, a tokenizer, texts, and the token ids and order of every step."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from logratio.config import RowsConfig, TemplateConfig, TokensConfig
from logratio.data.prepare import prepare
from logratio.files import atomic_folder, cache_root, content_hash, remembered_sha256, write_json
from logratio.maths.counter import permutation
from logratio.models.build import BOS, EOS, PAD, SPECIAL, save_built, wrap_tokenizer

from . import texts
from .shapes import POSITIONS, SHAPES, Shape
from .work import Lengths

SEED = 0
VERSION = 1
"""Raised when the same arguments come to mean another workload."""


@dataclass(frozen=True)
class Workload:
    """A model folder, a preference file, and what their tokens are.

    Attributes:
        folder: Holds `data.jsonl` and `tokens.json`.
        model: Folder that transformers loads.
        size, form: Names of the shape and of the texts' form.
    """

    folder: Path
    model: Path
    size: str
    form: str

    @property
    def shape(self) -> Shape:
        """The model's shape."""
        return SHAPES[self.size]

    @property
    def data(self) -> Path:
        """The texts, as our side reads them."""
        return self.folder / "data.jsonl"

    @property
    def tokens(self) -> Path:
        """The token ids, as the peer reads them."""
        return self.folder / "tokens.json"

    @cached_property
    def lengths(self) -> list[Lengths]:
        """Tokens of each group."""
        groups = json.loads(self.tokens.read_text(encoding="utf-8"))["groups"]
        return [Lengths(len(group["prompt"]), tuple(map(len, group["responses"]))) for group in groups]

    @property
    def later(self) -> list[Lengths]:
        """The groups of all steps but the first."""
        held, lengths = json.loads(self.tokens.read_text(encoding="utf-8")), self.lengths
        return [lengths[index] for index in held["order"][held["groups_a_step"] :]]

    def facts(self) -> dict[str, Any]:
        """Return counts that the table and the page show."""
        held, lengths = json.loads(self.tokens.read_text(encoding="utf-8")), self.lengths
        responses = [n for group in lengths for n in group.responses]
        return {
            "groups": len(lengths),
            "pairs": sum(len(group["edges"]) for group in held["groups"]),
            "steps": len(lengths) // held["groups_a_step"],
            "unique_tokens": sum(group.unique for group in lengths),
            "scored_tokens": sum(responses),
            "longest": max(group.prompt + max(group.responses) for group in lengths),
            "prompt_mean": sum(group.prompt for group in lengths) / len(lengths),
            "response_mean": sum(responses) / len(responses),
            "tokenizer": held["tokenizer"],
            "form": texts.FORMS[self.form],
        }


def write(size: str, form: str, steps: int) -> Workload:
    """Return a workload, made on first use and kept in the cache folder.

    Args:
        size: Name of a shape.
        form: Name of a form of texts.
        steps: Optimiser steps of one epoch.

    Raises:
        DataMissing: The real texts are absent.
    """
    root = cache_root() / "bench"
    data = [remembered_sha256(texts.folder() / "hh-harmless" / f"{split}.jsonl.gz") for split in ("test", "train")]
    model = root / "models" / f"{size}-{content_hash(asdict(SHAPES[size]), data, SEED, VERSION)[:8]}"
    if not model.is_dir():
        _write_model(model, SHAPES[size])
    name = f"{size}-{form}-{steps}-{content_hash(model.name, data, VERSION)[:8]}"
    made = Workload(root / "workloads" / name, model, size, form)
    if not made.folder.is_dir():
        _write_tokens(made, steps)
    return made


def _write_model(folder: Path, shape: Shape) -> None:
    """Save random weights, and a byte-level BPE tokenizer trained on HH up to the vocabulary's size."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaForCausalLM

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=shape.vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator((text for split in ("train", "test") for text in _both(split)), trainer)
    config = shape.config(
        pad_token_id=SPECIAL.index(PAD), bos_token_id=SPECIAL.index(BOS), eos_token_id=SPECIAL.index(EOS)
    )
    torch.manual_seed(SEED)
    with atomic_folder(folder) as partial:
        save_built(LlamaForCausalLM(config).float(), wrap_tokenizer(backend, max_length=POSITIONS), partial)


def _both(split: str) -> list[str]:
    return [text for row in texts.transcripts(split) for text in (row["chosen"], row["rejected"])]


def _write_tokens(made: Workload, steps: int) -> None:
    """Save texts, and the tokens that our own path makes of them, once for both sides."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(made.model, local_files_only=True)
    size = texts.GROUPS_A_STEP[made.form]
    rows = texts.rows(made.form, steps * size, tokenizer)
    with atomic_folder(made.folder) as partial:
        partial.mkdir(exist_ok=True)
        (partial / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        groups = tokenised(partial / "data.jsonl", tokenizer)
        if len(groups) != steps * size:
            raise ValueError(f"{steps * size} rows gave {len(groups)} groups; the workload would not be what it says.")
        order = permutation(len(groups), SEED, 0).tolist()
        write_json(
            partial / "tokens.json",
            {
                "groups": groups,
                "order": order,
                "groups_a_step": size,
                "pairs_a_step": texts.PAIRS_A_STEP[made.form],
                "tokenizer": f"byte-level BPE trained on HH, {len(tokenizer)} of {made.shape.vocabulary} ids used",
            },
        )


def tokenised(data: Path, tokenizer: Any) -> list[dict[str, Any]]:
    """Return what our data path makes of a file: groups of prompt, responses and edges, as plain lists."""
    prepared = prepare(
        [str(data)],
        kind="pairs",
        tokenizer=tokenizer,
        tokens=TokensConfig(max_length=POSITIONS, overflow="error"),
        template=TemplateConfig(use="none"),
        rows=RowsConfig(),
    )
    found = []
    for group in prepared.groups:
        if not all(mask.all() for mask in group.loss):
            raise ValueError(f"row {group.row}: a response token carries no loss, which the peer could not be told.")
        responses = [response.tolist() for response in group.responses]
        found.append({"prompt": group.prompt.tolist(), "responses": responses, "edges": group.edges.tolist()})
    return found
