import math

import numpy as np
import pytest
import torch

from logratio import objectives
from logratio.batch.group import Group
from logratio.evaluate.kl import sample_measures
from logratio.evaluate.margins import length_correlation, margin_spread, quantiles
from logratio.evaluate.measure import Scored
from logratio.maths.intervals import NOTHING
from logratio.rollout.generate import Sample


def test_quantiles_have_names_and_are_those_of_numpy():
    values = np.linspace(-1, 3, 101)
    assert quantiles(values) == pytest.approx({"p05": -0.8, "p25": 0.0, "p50": 1.0, "p75": 2.0, "p95": 2.8})
    assert set(quantiles(np.zeros(0)).values()) == {None}


def test_correlation_of_known_numbers_with_fishers_interval():
    margins, difference = np.array([1.0, 2, 3, 4, 6]), np.array([2.0, 1, 4, 3, 7])
    found = length_correlation(margins, difference, 5)
    r = np.corrcoef(np.concatenate([margins, -margins]), np.concatenate([difference, -difference]))[0, 1]
    assert found.mean == pytest.approx(r) and found.n == 5  # Pearson's r over the pairs in both orders
    turned = np.array([1, -1, 1, -1, -1])
    assert length_correlation(margins * turned, difference * turned, 5) == found
    assert math.atanh(found.high) - math.atanh(found.mean) == pytest.approx(1.959964 / math.sqrt(2), rel=1e-5)


def test_where_every_chosen_response_is_longer_by_as_much_length_explains_the_margins():
    draw = np.random.default_rng(5)
    margins, difference = draw.normal(1.0, 0.3, 200), draw.normal(9.0, 2.0, 200)
    assert length_correlation(margins, difference, 200).mean > 0.9 > 0.2 > np.corrcoef(margins, difference)[0, 1]


def test_its_interval_covers_the_truth_as_often_as_it_says():
    draw, truth, n, hits = np.random.default_rng(3), 0.5, 60, 0
    for _ in range(1000):
        x, e = draw.standard_normal((2, n))
        found = length_correlation(truth * x + math.sqrt(1 - truth**2) * e, x, n)
        hits += found.low <= truth <= found.high
    assert 930 <= hits <= 970  # 95 % ± 3 standard errors of 0.7 %


@pytest.mark.parametrize(
    ("margins", "difference", "prompts"),
    [(np.zeros(9), np.arange(9.0), 9), (np.arange(9.0), np.zeros(9), 9), (np.arange(3.0), np.arange(3.0), 3)],
    ids=["at the reference", "equal lengths", "three prompts"],
)
def test_nothing_is_known_where_nothing_varies(margins, difference, prompts):
    assert length_correlation(margins, difference, prompts) is NOTHING


def test_pairs_of_one_prompt_count_once_and_ties_not_at_all():
    objective = objectives.load("dpo_d")  # ties have weight 0 in its metrics
    draw = np.random.default_rng(0)

    def group(row, prompt, chosen, rejected, tie):
        responses = tuple(np.arange(n, dtype=np.int32) + 1 for n in (chosen, rejected))
        masks = tuple(np.ones(len(r), np.bool_) for r in responses)
        made = Group(row, np.array([prompt], np.int32), responses, masks, np.array([[0, 1]], np.int32))
        columns = {"weight": 1.0, "margin": 0.0, "probability": 1.0, "tie": tie}
        return made.with_columns(
            token={"reference": np.zeros(chosen + rejected, np.float32)},
            response={"weight": np.ones(2, np.float32)},
            edge={name: np.array([value], np.float32) for name, value in columns.items()},
        )

    groups = [group(i, i // 2, 2 + i % 5, 2 + i % 3, float(i == 7)) for i in range(20)]
    values = [draw.standard_normal(own.scored).astype(np.float32) for own in groups]
    measures, spread = margin_spread(Scored.of(groups, values), objective, objective.settings())
    kept = [i for i in range(20) if i != 7]
    sums = [
        (v[: len(g.responses[0])].sum(), v[len(g.responses[0]) :].sum()) for g, v in zip(groups, values, strict=True)
    ]
    margins = np.array([objective.settings().beta * (sums[i][0] - sums[i][1]) for i in kept], np.float64)
    difference = np.array([float(len(groups[i].responses[0]) - len(groups[i].responses[1])) for i in kept])
    expected = length_correlation(margins, difference, 10)
    assert measures["length_correlation"].mean == pytest.approx(expected.mean, rel=1e-5)
    assert measures["length_correlation"].low == pytest.approx(expected.low, rel=1e-5)
    assert spread["p50"] == pytest.approx(np.median(margins), rel=1e-5)


def test_an_objective_without_margins_has_neither():
    objective = objectives.load("sft")
    scored = Scored.of([], [])
    assert margin_spread(scored, objective, objective.settings()) == ({}, {})


def drawn(*tokens, logp=-1.0):
    return Sample(np.array(tokens, np.int32), np.full(len(tokens), logp, np.float32), True)


def test_overlap_is_the_mean_over_all_couples_of_different_prompts():
    prompts = [np.array([i], np.int32) for i in range(3)]
    samples = [[drawn(1, 2, 3, 4, 5), drawn(1, 2, 3, 4, 5)], [drawn(9, 1, 2, 3, 4)], [drawn(7, 7, 7, 7, 7, 7)]]
    texts = [
        (i, set(zip(*(s.tokens.tolist()[k:] for k in range(4)), strict=False)))
        for i, own in enumerate(samples)
        for s in own
    ]
    couples = [len(a & b) / len(a) for i, a in texts for j, b in texts if i != j]
    found = sample_measures(prompts, samples)["self_overlap"]
    assert found.mean == pytest.approx(sum(couples) / len(couples)) and 0 < found.mean < 1
    same = sample_measures(prompts[:2], [[drawn(1, 2, 3, 4)], [drawn(1, 2, 3, 4)]])
    assert same["self_overlap"].mean == 1
    assert sample_measures(prompts[:1], samples[:1])["self_overlap"].mean is None  # nobody to compare with


def test_entropy_is_the_mean_surprise_of_a_sampled_token():
    prompts = [np.array([i], np.int32) for i in range(2)]
    found = sample_measures(prompts, [[drawn(1, 2, 3, logp=-2.0)], [drawn(4, logp=-0.5)]])["entropy_per_token"]
    assert found.mean == pytest.approx((3 * 2.0 + 0.5) / 4)


def test_entropy_of_samples_estimates_that_of_the_model():
    from logratio.rollout.generate import generate
    from worlds import tiny_llama

    model = tiny_llama()
    prompts = [np.array([i + 1, 2], np.int32) for i in range(16)]
    samples = generate(model, prompts, k=32, max_new_tokens=1, stop_ids=[])
    found = sample_measures(prompts, samples)["entropy_per_token"]
    with torch.no_grad():
        logps = model(torch.tensor(np.stack(prompts), dtype=torch.long)).logits[:, -1].log_softmax(-1)
    exact = -(logps.exp() * logps).sum(-1).mean().item()
    assert abs(found.mean - exact) < 0.1, (found, exact)
