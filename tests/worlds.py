"""Small random models and groups that several tests share."""

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from logratio.batch.group import Group
from logratio.maths.counter import stream

VOCABULARY = 40


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


def random_groups(n, *, k=2, seed=0, labels=False, mismatched=False, weights=False):
    """Groups with uneven prompts and responses, a reference column, and a few unscored tokens."""
    draw = stream(seed, "random groups")
    groups = []
    for row in range(n):
        count = k + mismatched
        prompt = draw.integers(0, VOCABULARY, draw.integers(1, 9)).astype(np.int32)
        responses = tuple(draw.integers(0, VOCABULARY, draw.integers(2, 12)).astype(np.int32) for _ in range(count))
        loss = tuple(draw.random(len(r)) < 0.9 for r in responses)
        for mask in loss:
            mask[-1] = True
        edges = np.array([(i, j) for i in range(k) for j in range(i + 1, k)], np.int32).reshape(-1, 2)
        weight = draw.uniform(0.5, 2, count).astype(np.float32) if weights else np.ones(count, np.float32)
        response = {"weight": weight}
        if labels:
            response["label"] = draw.integers(0, 2, count).astype(np.float32)
        if mismatched:
            response["mismatched"] = np.array([0] * k + [1], np.float32)
            weight[-1] = 0
        edge_weight = draw.uniform(0.5, 2, len(edges)) if weights else np.ones(len(edges))
        edge = {
            "weight": edge_weight.astype(np.float32),
            "probability": np.ones(len(edges), np.float32),
            "margin": np.zeros(len(edges), np.float32),
        }
        group = Group(row, prompt, responses, loss, edges)
        reference = draw.normal(-3, 1, group.scored).astype(np.float32)
        if mismatched:
            reference[-int(loss[-1].sum()) :] -= 5  # so that the baseline is above 0, where it is not clamped
        groups.append(group.with_columns(response=response, edge=edge, token={"reference": reference}))
    return groups
