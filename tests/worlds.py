"""Small random models and groups that several tests share."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from logratio.testing.worlds import VOCABULARY, random_groups

__all__ = ["VOCABULARY", "random_groups", "tiny_llama", "tiny_scorer"]


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


def tiny_scorer(seed=0, dtype=torch.float32):
    """A random reward model of the same size."""
    config = tiny_llama(seed).config
    config.num_labels = 1
    torch.manual_seed(seed)
    return LlamaForSequenceClassification(config).to(dtype).eval()
