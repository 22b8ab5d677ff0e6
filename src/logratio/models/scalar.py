"""Reward models: a language model's body with a scalar head, in the form transformers calls sequence classification."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..batch.needs import Head
from ..errors import ModelError
from ..maths.counter import stream

SUFFIX = "ForSequenceClassification"


def head_of(architectures: Iterable[str]) -> Head:
    """Return what a model of these classes ends in."""
    return "score" if any(name.endswith(SUFFIX) for name in architectures) else "lm"


def load(source: str, options: Mapping[str, Any], seed: int) -> tuple[Any, str]:
    """Load a reward model as it is stored, or a language model's body with a fresh head.

    Args:
        source: Folder or hub name.
        options: For `from_pretrained`; `config` among them.
        seed: Of a fresh head.

    Returns:
        The model, and where its head comes from, in words.

    Raises:
        ModelError: It is a classifier of several labels, or the architecture has no scalar head called `score`.
    """
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    config = options["config"]
    stored = head_of(config.architectures or ()) == "score"
    if stored and config.num_labels != 1:
        raise ModelError(
            f'"{source}" is a classifier with {config.num_labels} labels, and a reward model gives one number; '
            "use a model with num_labels 1, or a causal language model."
        )
    config.num_labels = 1
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # that the head is missing, and the other one left over, is meant
    try:
        with torch.random.fork_rng(devices=[]):  # a missing head is drawn, and then drawn anew below
            model = AutoModelForSequenceClassification.from_pretrained(source, **options)
    finally:
        logging.set_verbosity(level)
    layer = getattr(model, "score", None)
    if not isinstance(layer, nn.Linear):
        raise ModelError(
            f'"{source}" ({type(model).__name__}) has no linear head called score, so responses cannot be scored at '
            "their last token; use a decoder whose reward model transformers knows."
        )
    if stored:
        return model, f"as stored in {source}"
    layer.weight.data = fresh(layer.weight, seed)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return model, f"fresh, drawn from N(0, 1/(D+1)) by seed {seed}"


def fresh(like: Tensor, seed: int) -> Tensor:
    """Return weights of a fresh scalar head, [1, D], from N(0, 1/(D+1)): scores begin near the standard normal.

    Stiennon et al. 2020 (arXiv:2009.01325), appendix B.1.
    """
    width = like.shape[-1]
    drawn = stream(seed, "score head").normal(scale=(width + 1) ** -0.5, size=tuple(like.shape))
    return torch.from_numpy(drawn).to(like)


def settle_padding(model: Any, tokenizer: Any, ends: Collection[int]) -> str:
    """Choose a padding token that ends no response, in model and tokenizer; return its text.

    transformers reads a score at the last token that is not padding. Where padding is the end-of-turn token, as many
    tokenizers have it, that is another token than the response's last one, at which the score is trained.

    Args:
        model: A reward model, or a PEFT model around one.
        tokenizer: Its tokenizer, changed in place.
        ends: Tokens that end a response.

    Raises:
        ModelError: Every special token ends responses.
    """
    special = [token for token in tokenizer.added_tokens_decoder.values() if token.special]
    named = [str(token) for token in special if "pad" in str(token).lower()]
    candidates = [tokenizer.pad_token, *named, tokenizer.unk_token, tokenizer.bos_token, *map(str, special)]
    known = [token for token in candidates if token and tokenizer.convert_tokens_to_ids(token) not in ends]
    if not known:
        raise ModelError(
            "the tokenizer has no special token but those that end a response, and a reward model needs another one "
            "for padding, since transformers reads the score before it: add one (tokenizer.add_special_tokens and "
            "model.resize_token_embeddings) and save both."
        )
    tokenizer.pad_token = known[0]
    pad_as(model, tokenizer)
    return str(known[0])


def pad_as(model: Any, tokenizer: Any) -> None:
    """Let the model's config say what the tokenizer pads with; an adapter's folder holds the tokenizer's word alone."""
    model.config.get_text_config().pad_token_id = model.config.pad_token_id = tokenizer.pad_token_id
