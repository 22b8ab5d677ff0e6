import itertools
import json

import numpy as np
import pytest
import torch

from logratio.evaluate.kl import divergence, kl_measures, repetition, sample_groups, sample_measures
from logratio.logps.policy import Policy
from logratio.logps.reference import score
from logratio.maths.intervals import NOTHING
from logratio.rollout.generate import Sample, generate
from worlds import tiny_llama

STOP, V, LIMIT = 0, 5, 3
PROMPT = np.array([3, 1, 2], np.int32)


def small(seed):
    return tiny_llama(seed, torch.float64, vocab_size=V)


def exact_kl(policy, reference) -> float:
    """Σ_y π(y) log π(y)/π_ref(y) over every response of at most LIMIT tokens that ends where STOP comes."""

    def next_logp(model, prefix):
        with torch.no_grad():
            return model(torch.tensor([[*PROMPT.tolist(), *prefix]])).logits[0, -1].log_softmax(-1).tolist()

    total = 0.0
    for length in range(LIMIT):
        for prefix in itertools.product(range(1, V), repeat=length):
            steps = [
                (next_logp(policy, prefix[:t])[prefix[t]], next_logp(reference, prefix[:t])[prefix[t]])
                for t in range(length)
            ]
            reach = np.exp(sum(own for own, _ in steps))
            own, other = np.array(next_logp(policy, prefix)), np.array(next_logp(reference, prefix))
            total += reach * float((np.exp(own) * (own - other)).sum())  # chain rule: KL of each next token
    return total


def test_the_estimate_covers_the_exact_divergence_of_an_enumerable_model():
    policy, reference = small(0), small(1)
    truth = exact_kl(policy, reference)
    assert truth > 0.1
    (samples,) = generate(policy, [PROMPT], k=3000, max_new_tokens=LIMIT, stop_ids=[STOP])
    groups = sample_groups([PROMPT] * 3000, [[sample] for sample in samples])
    own, other = (score(Policy(model), groups, bin_tokens=4000) for model in (policy, reference))
    ratios = np.array([float((a - b).sum()) for a, b in zip(own, other, strict=True)])
    se = ratios.std(ddof=1) / np.sqrt(len(ratios))
    assert abs(ratios.mean() - truth) < 3.5 * se
    measured = kl_measures(groups, own, other)["kl"]
    assert measured.mean == pytest.approx(ratios.mean(), abs=1e-6)
    assert measured.low is None, "one prompt is one cluster, which says nothing of others"


def test_a_policy_has_no_divergence_from_itself_and_gets_the_same_number_by_either_route():
    policy, reference = small(0), small(1)
    prompts = [np.array(p, np.int32) for p in ([3], [1, 2], [4, 4, 1], [2, 2])]
    drawn = generate(policy, prompts, k=3, max_new_tokens=8, stop_ids=[STOP])
    none = divergence(Policy(policy), prompts, drawn, bin_tokens=100)
    assert none.mean == pytest.approx(0, abs=1e-6) and none.n == 12
    groups = sample_groups(prompts, drawn)
    own, other = (score(Policy(model), groups, bin_tokens=20) for model in (policy, reference))
    rescored = kl_measures(groups, own, other)
    sampled = divergence(Policy(reference), prompts, drawn, bin_tokens=1000)
    assert (sampled.mean, sampled.low, sampled.high) == pytest.approx(
        (rescored["kl"].mean, rescored["kl"].low, rescored["kl"].high), abs=1e-5
    )
    tokens = sum(len(sample.tokens) for samples in drawn for sample in samples)
    assert rescored["kl_per_token"].mean == pytest.approx(rescored["kl"].mean * 12 / tokens)
    assert kl_measures(groups, own, None) == {"kl": NOTHING, "kl_per_token": NOTHING}


def sample(*tokens, ended=True):
    return Sample(np.array(tokens, np.int32), np.zeros(len(tokens), np.float32), ended)


def test_what_samples_look_like_by_hand():
    prompts = [np.array([1], np.int32), np.array([2], np.int32)]
    drawn = [[sample(5, 6, 5, 6, 5, 6), sample(7, ended=False)], [sample(5, 6, 7), sample(8, 9, ended=False)]]
    measures = sample_measures(prompts, drawn)
    assert measures["sample_length"].mean == (6 + 1 + 3 + 2) / 4
    assert measures["ended"].mean == 0.5
    assert measures["repetition"].mean == pytest.approx(1 / 3) and measures["repetition"].n == 1
    # Bigrams: 56 65 56 65 56 | | 56 67 | 89: eight, of which 56, 65, 67 and 89 are distinct.
    assert measures["distinct_2"].mean == 4 / 8 and measures["distinct_2"].n == 8
    json.dumps({name: measure.to_json() for name, measure in measures.items()}, allow_nan=False)


def test_repetition_from_none_to_nearly_all():
    assert repetition(np.arange(20, dtype=np.int32)) == 0
    assert repetition(np.zeros(103, np.int32)) == 0.99
    assert repetition(np.zeros(3, np.int32)) == 0


def test_no_samples_say_nothing():
    assert set(sample_measures([], []).values()) == {NOTHING}
