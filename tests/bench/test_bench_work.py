"""Useful work, counted by hand on a batch small enough to do so."""

import torch

from bench.shapes import SHAPES, Shape
from bench.work import Lengths, forward, training

TINY = Shape(hidden=4, layers=1, heads=2, kv_heads=1, inner=3, vocabulary=5, tied=True)


def test_a_packed_batch_counted_by_hand():
    """Two groups: a prompt of 2 with responses of 1 and 3, and a prompt of 1 with a response of 2."""
    groups = [Lengths(2, (1, 3)), Lengths(1, (2,))]
    weights = 4 * 4 + 2 * (4 * 2) + 4 * 4 + 3 * (4 * 3)  # q, k and v (one head of 2), o, gate and up and down
    tokens, scored = (2 + 1 + 3) + (1 + 2), (1 + 3) + 2
    seen = (1 + 2) + (2 + 1) + (3 + 4 + 5) + 1 + (2 + 3)  # keys of each query: prompt, responses; prompt, response
    once = forward(TINY, groups)
    assert TINY.body == weights
    assert once.body == 2 * weights * tokens
    assert once.head == 2 * 4 * 5 * scored
    assert once.attention == 2 * (2 * 4) * seen  # a score and a weighted value, 4 multiply-adds each
    assert once.useful == once.body + once.head
    step = training(TINY, groups)
    assert (step.body, step.head, step.attention) == (3 * once.body, 3 * once.head, 3 * once.attention)


def test_the_body_is_what_a_real_model_has_in_its_blocks():
    from transformers import LlamaConfig, LlamaForCausalLM

    for shape in (SHAPES["7m"], SHAPES["135m"]):
        config = LlamaConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.hidden,
            intermediate_size=shape.inner,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            tie_word_embeddings=shape.tied,
        )
        with torch.device("meta"):
            model = LlamaForCausalLM(config)
        blocks = model.model.layers.parameters()
        assert shape.body == sum(weight.numel() for weight in blocks if weight.dim() == 2)
    assert 134e6 < sum(weight.numel() for weight in model.parameters()) < 135e6


def test_a_prompt_counts_once_however_many_responses_it_has():
    assert forward(TINY, [Lengths(7, (1, 1))]).body - forward(TINY, [Lengths(7, (1,))]).body == 2 * TINY.body
