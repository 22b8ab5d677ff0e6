"""Shapes of the models that are measured. Weights are random: time and memory do not depend on their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

POSITIONS = 4096
"""Longest sequence of every shape, tokens."""


@dataclass(frozen=True)
class Shape:
    """A Llama.

    Attributes:
        hidden: D.
        layers: Blocks.
        heads: Query heads; each is `hidden / heads` wide.
        kv_heads: Key and value heads.
        inner: Width of the gated layer.
        vocabulary: V, tokens.
        tied: Whether the head's weights are the embedding's.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    vocabulary: int
    tied: bool

    @property
    def body(self) -> int:
        """Weights that stand in matrix products of the blocks: neither embedding, head nor norms."""
        narrow = self.hidden * self.kv_heads // self.heads
        attention = 2 * self.hidden * self.hidden + 2 * self.hidden * narrow
        return self.layers * (attention + 3 * self.hidden * self.inner)

    def config(self, **tokens: Any) -> Any:
        """Return transformers' configuration of this shape; special tokens are passed on."""
        from transformers import LlamaConfig

        return LlamaConfig(
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            intermediate_size=self.inner,
            vocab_size=self.vocabulary,
            max_position_embeddings=POSITIONS,
            tie_word_embeddings=self.tied,
            **tokens,
        )


SHAPES = {
    "nano": Shape(hidden=64, layers=2, heads=2, kv_heads=2, inner=128, vocabulary=512, tied=True),
    "7m": Shape(hidden=256, layers=6, heads=4, kv_heads=4, inner=704, vocabulary=8192, tied=True),
    "60m": Shape(hidden=512, layers=8, heads=8, kv_heads=8, inner=1376, vocabulary=32768, tied=False),
    "135m": Shape(hidden=576, layers=30, heads=9, kv_heads=3, inner=1536, vocabulary=49152, tied=True),
    "0.5b": Shape(hidden=896, layers=24, heads=14, kv_heads=2, inner=4864, vocabulary=151936, tied=True),
}
"""Name → shape; 135m is SmolLM2-135M's, 0.5b Qwen2.5-0.5B's (without its biases), nano is for tests."""
