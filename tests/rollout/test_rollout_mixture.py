"""Samples from between two models: at both ends the models' own, and between them of the mixed distribution."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from logratio.models.build import build_llama
from logratio.rollout.generate import generate_by
from logratio.rollout.mixture import generate_between
from logratio.rollout.sampling import Rules

PROMPTS = [np.array([1, 5, 7], np.int32), np.array([1, 9], np.int32), np.array([1, 2, 3, 4, 5], np.int32)]
RULES = Rules(3, 5, np.array([2]), seed=11)


def model(seed):
    made = build_llama(vocab_size=12, hidden=16, inner=24, layers=2, heads=2, max_positions=32, seed=seed)
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(4)  # so that distributions are far from uniform, and from each other
    return made


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_at_either_end_samples_are_those_of_one_model(share):
    own, other = model(0), model(1)
    mixed = generate_between(own, lambda: nullcontext(other), share, PROMPTS, RULES)
    alone = generate_by(other if share else own, PROMPTS, RULES)
    for ours, theirs in zip(mixed, alone, strict=True):
        assert [one.tokens.tolist() for one in ours] == [one.tokens.tolist() for one in theirs]
        for one, another in zip(ours, theirs, strict=True):
            assert np.allclose(one.logps, another.logps, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_between_them_each_token_has_the_log_prob_of_the_normalised_geometric_mixture(temperature):
    own, other, share = model(0), model(1), 0.3
    drawn = generate_between(own, lambda: nullcontext(other), share, PROMPTS, replace(RULES, temperature=temperature))
    for prompt, samples in zip(PROMPTS, drawn, strict=True):
        for sample in samples:
            ids = torch.tensor([[*prompt.tolist(), *sample.tokens.tolist()]])
            with torch.no_grad():
                logps = [each(input_ids=ids).logits[0].log_softmax(-1) for each in (own, other)]
            mixed = (((1 - share) * logps[0] + share * logps[1]) / temperature).log_softmax(-1)
            at = torch.arange(len(prompt) - 1, len(prompt) - 1 + len(sample.tokens))
            expected = mixed[at, torch.tensor(sample.tokens.tolist())]
            assert np.allclose(sample.tempered, expected.numpy(), atol=1e-5)
