"""Small models made from nothing: a Llama with random weights, and a tokenizer wrapped for transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from .quiet import no_bars

PAD, BOS, EOS, UNK = SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
"""Special tokens of a tokenizer made here; their ids are 0, 1, 2, 3."""


def build_llama(
    *, vocab_size: int, hidden: int, inner: int, layers: int, heads: int, max_positions: int, seed: int
) -> Any:
    """Return a `LlamaForCausalLM` with tied embeddings and float32 weights drawn from `seed`.

    Args:
        vocab_size: V, tokens.
        hidden: D, a multiple of 2 · heads.
        inner: Width of the gated layer.
        layers: Number of blocks.
        heads: Attention heads.
        max_positions: Longest sequence, tokens.
        seed: Seed of the weights; the caller's random state is left as it was.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=max_positions,
        tie_word_embeddings=True,
        initializer_range=hidden**-0.5 / 2,
        pad_token_id=SPECIAL.index(PAD),
        bos_token_id=SPECIAL.index(BOS),
        eos_token_id=SPECIAL.index(EOS),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).float().eval()


def wrap_tokenizer(tokenizer: Tokenizer, *, max_length: int) -> Any:
    """Return `tokenizer`, whose first four ids are `SPECIAL`, as a `PreTrainedTokenizerFast`.

    It puts one `<s>` before a text, adds nothing after it, and decodes without tidying spaces.
    """
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer.post_processor = TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, SPECIAL.index(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def save_built(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write both so that `AutoModelForCausalLM` and `AutoTokenizer` load them from `folder`."""
    no_bars()
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
