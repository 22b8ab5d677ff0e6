import itertools
import math

import numpy as np
import pytest
from planted import SCRIPTS, Writer, recall_precision

from logratio.audit.intransitive import compare, fit, flips, intransitivity
from logratio.audit.rows import read_rows
from logratio.audit.similar import forms
from logratio.audit.tournaments import majority, on_cycles, tournaments, triads


def look(data):
    rows = read_rows(data)
    return intransitivity(rows, forms(rows.texts))


def drawn(seed, prompts, responses, scale, judgements=1, circle=None):
    """Return rows of a Bradley–Terry world; with `circle`, i beats i + 1 … i + (K − 1)/2 with that probability."""
    rng = np.random.default_rng(seed)
    data = []
    for prompt in range(prompts):
        strength = rng.normal(0, scale, responses)
        for i, j in itertools.combinations(range(responses), 2):
            chance = 1 / (1 + math.exp(strength[j] - strength[i]))
            if circle is not None:
                chance = circle if j - i <= (responses - 1) // 2 else 1 - circle
            for _ in range(judgements):
                one, other = (i, j) if rng.random() < chance else (j, i)
                texts = [f"answer {number} to {prompt}" for number in (one, other)]
                data.append({"prompt": f"question {prompt}", "chosen": texts[0], "rejected": texts[1]})
    return data


def brute(ahead):
    """Return (cyclic triads, decided triads) by looking at each."""
    cyclic = closed = 0
    for i, j, k in itertools.combinations(range(len(ahead)), 3):
        pairs = [(i, j), (j, k), (i, k)]
        if all(ahead[a, b] + ahead[b, a] == 1 for a, b in pairs):
            closed += 1
            cyclic += max(sum(ahead[a, [i, j, k]]) for a in (i, j, k)) == 1
    return cyclic, closed


def test_triads_are_counted_as_by_looking_at_each():
    rng = np.random.default_rng(0)
    wins = rng.integers(0, 3, (20, 9, 9)) * (rng.random((20, 9, 9)) < 0.7)
    ahead = majority(wins.astype(float))
    cyclic, closed = triads(ahead)
    assert [(c, t) for c, t in zip(cyclic, closed, strict=True)] == [brute(own) for own in ahead]


def test_pairs_on_cycles_are_those_whose_loser_reaches_the_winner():
    rng = np.random.default_rng(1)
    for size in (3, 4, 8, 13):
        ahead = majority((rng.random((size, size)) < 0.2).astype(float))
        reach = np.linalg.matrix_power(np.eye(size) + ahead, size) > 0
        assert (on_cycles(ahead) == ((ahead > 0) & reach.T)).all()


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("length", [3, 4, 5])
def test_planted_cycles_are_found_and_nothing_else(script, length):
    writer = Writer(length, script)
    data, planted = [], []
    for at in range(60):
        prompt, answers = writer.text(), [writer.text(12) for _ in range(length)]
        pairs = [(answers[i], answers[(i + 1) % length]) for i in range(length)]
        if at % 2:
            pairs[-1] = pairs[-1][::-1]
        else:
            planted.append(prompt)
        data += [{"prompt": prompt, "chosen": one, "rejected": other} for one, other in pairs]
    rows = read_rows(data)
    found = []
    for block in tournaments(rows, forms(rows.texts)):
        has = on_cycles(majority(block.wins_GKK)).any((1, 2))
        found += [rows.texts[text] for text in block.prompt_G[has]]
    assert recall_precision(found, planted) == (1.0, 1.0)
    finding = look(data)
    assert finding.figures["prompts_with_cycles"] == 30 and finding.figures["prompts_looked_at"] == 60
    assert finding.figures["cyclic_triads"] == (30 if length == 3 else 0)
    circle = finding.examples[0].texts
    assert len(circle) == length + 1 and circle["prompt"] == planted[0]


def test_an_example_names_a_circle_of_the_data():
    data = drawn(0, 1, 3, 0.0, circle=1.0)
    circle = list(look(data).examples[0].texts.values())[1:]
    beats = {(row["chosen"], row["rejected"]) for row in data}
    assert all((circle[i], circle[(i + 1) % 3]) in beats for i in range(3))


def test_rankings_are_an_order_by_construction_and_are_not_looked_at():
    ranking = {"prompt": "p", "responses": list("abcde"), "scores": [5, 4, 3, 2, 1]}
    assert look([ranking]).figures["prompts_looked_at"] == 0
    assert look([ranking, ranking]).figures == look([ranking]).figures | {"prompts_looked_at": 1, "triads": 10}


def test_ties_and_majorities_decide():
    def row(one, other):
        return {"prompt": "p", "chosen": one, "rejected": other}

    circle = [row("a", "b"), row("b", "c"), row("c", "a")]
    assert look(circle).figures["cyclic_triads"] == 1
    assert look([*circle, row("a", "c"), row("a", "c")]).figures["prompts_with_cycles"] == 0
    assert look([*circle, row("a", "c")]).figures["triads"] == 0


def test_flips_explain_their_own_share_of_cyclic_triads():
    for rate in (0.0, 0.1, 0.3, 0.5):
        assert flips(rate * (1 - rate)) == pytest.approx(rate)
    assert flips(0.26) is None


def test_the_fit_is_the_mode_and_its_likelihood_that_of_a_fine_grid():
    wins = np.zeros((1, 3, 3))
    wins[0, 0, 1], wins[0, 1, 0], wins[0, 1, 2] = 3, 1, 2
    theta, root, evidence = fit(wins, 1.5)

    def log_joint(x):
        chance = 1 / (1 + np.exp(x[:, None, :] - x[:, :, None]))
        return (wins * np.log(chance)).sum((1, 2)) - (x**2).sum(1) / (2 * 1.5**2)

    rng = np.random.default_rng(0)
    near = theta + rng.normal(0, 0.01, (200, 3))
    assert (log_joint(near) <= log_joint(theta) + 1e-9).all()
    draws = rng.normal(0, 1.5, (400_000, 3))
    chance = 1 / (1 + np.exp(draws[:, None, :] - draws[:, :, None]))
    exact = math.log(np.exp((wins * np.log(chance)).sum((1, 2))).mean())
    assert evidence[0] == pytest.approx(exact, abs=0.1)  # Laplace's approximation on six judgements
    covariance = root[0] @ root[0].T
    curvature = np.zeros((3, 3))
    for i, j in itertools.product(range(3), repeat=2):
        h = 1e-4 * np.eye(3)
        steps = [log_joint(theta + a * h[i] + b * h[j])[0] for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
        curvature[i, j] = -(steps[0] - steps[1] - steps[2] + steps[3]) / 4e-8
    assert covariance @ curvature == pytest.approx(np.eye(3), abs=1e-4)


WORLDS = [
    dict(prompts=60, responses=3, scale=1.0),
    dict(prompts=30, responses=5, scale=1.0, judgements=3),
    dict(prompts=3, responses=16, scale=2.0),
]


@pytest.mark.parametrize("world", WORLDS)
def test_noise_alone_is_called_noise(world):
    alarms = 0
    for seed in range(10):
        finding = look(drawn(seed, **world))
        alarms += finding.level == "look"
    assert alarms <= 1


@pytest.mark.parametrize(
    "world",
    [
        dict(prompts=40, responses=3, scale=0.0, judgements=3, circle=0.9),
        dict(prompts=10, responses=7, scale=0.0, judgements=3, circle=0.8),
        dict(prompts=60, responses=3, scale=0.0, circle=0.9),
    ],
)
def test_planted_circles_are_more_than_noise_gives(world):
    for seed in range(5):
        assert look(drawn(seed, **world)).level == "look"


def test_a_tenth_of_circling_prompts_among_orderly_ones_is_seen_where_judgements_repeat():
    data = drawn(0, 90, 3, 3.0, judgements=5)
    data += [row | {"prompt": row["prompt"] + "?"} for row in drawn(1, 10, 3, 0.0, judgements=5, circle=0.95)]
    finding = look(data)
    assert finding.level == "look"


def test_the_scale_of_strengths_is_recovered():
    rows = read_rows(drawn(0, 200, 6, 1.5, judgements=2))
    assert compare(list(tournaments(rows, forms(rows.texts)))).scale == 1.5
