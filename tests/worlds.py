"""Small random models and groups that several tests share."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from logratio.testing.worlds import VOCABULARY, random_groups

__all__ = ["VOCABULARY", "random_groups", "tiny_llama"]


def tiny_llama(seed=0, dtype=torch.float32, tied=True, **changes):
    """A random Llama of about 20,000 parameters, eager about big logits so that log-probs differ."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        **{
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 128,
            "tie_word_embeddings": tied,
            "initializer_range": 0.2,
            **changes,
        }
    )
    return LlamaForCausalLM(config).to(dtype).eval()
