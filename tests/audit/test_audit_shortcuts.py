"""Shallow cues that predict the winner: named when planted, silent when not."""

import numpy as np
import pytest
from judged_pairs import coin, columns, longer, pairs, sentence

from logratio.audit.classify import fit, hits, unseen_scores
from logratio.audit.cued import MOST, cued, some
from logratio.audit.judged import certain_end, decided, folds
from logratio.audit.shortcuts import shortcuts


def found(rows):
    data = columns(rows)
    return shortcuts(data, cued(data))


def planted(seed, change, share=0.8, count=600):
    """A change to the text that wins in this share of the pairs."""
    rng = np.random.default_rng(seed)
    rows = []
    for row in pairs(seed, count, coin):
        side = "chosen" if rng.random() < share else "rejected"
        rows.append({**row, side: change(row[side])})
    return rows


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda text: "\n".join(f"- {part}" for part in text.split()), "list items (log)"),
        (lambda text: f"I'm sorry, but I can't help. {text}", "refuses"),
        (lambda text: f"Absolutely {text}", 'begins with "absolutely"'),
        (lambda text: f"{text} 🙂🙂", "emoji (log)"),
        (lambda text: text.rstrip("."), "ends without a stop"),
        (lambda text: f"{text} Shall I go on?", "questions (log)"),
        (lambda text: f"**{text}**", "bold passages (log)"),
        (lambda text: f"当然 {text}", 'begins with "当"'),
    ],
)
def test_a_planted_cue_is_named_with_its_sign(change, name):
    finding = found(planted(7, change))
    assert finding.level == "look" and finding.remedy
    assert finding.figures[f"{name}: more wins_share"] == pytest.approx(0.8, abs=0.05)
    assert finding.figures["cues_accuracy"] == pytest.approx(0.8, abs=0.06)
    turned = found(planted(7, change, share=0.2))
    assert turned.figures[f"{name}: more wins_share"] == pytest.approx(0.2, abs=0.05)


def test_length_is_a_shortcut_too():
    finding = found(pairs(8, 600, longer(0.85)))
    assert finding.level == "look" and "length in" in finding.says


def test_without_a_shortcut_nothing_is_flagged():
    findings = [found(pairs(seed, 300, coin, per_prompt=2)) for seed in range(20)]
    assert sum(finding.level == "look" for finding in findings) <= 1
    mean = np.mean([finding.figures["cues_accuracy"] for finding in findings])
    assert mean == pytest.approx(0.5, abs=0.03)


def test_a_rare_cue_that_always_wins_is_found_though_it_decides_few_pairs():
    rng = np.random.default_rng(0)
    rows = [
        {**row, "chosen": f"Certainly! {row['chosen']}"} if rng.random() < 0.12 else row for row in pairs(9, 800, coin)
    ]
    finding = found(rows)
    assert (
        finding.level == "look"
        and finding.figures["cues_accuracy"] < 0.62
        and "xclam" in finding.says + str(finding.figures)
    )


def test_where_it_stood_is_a_cue():
    rng = np.random.default_rng(1)
    rows = [
        {
            "prompt": f"q{n}",
            "response1": sentence(rng),
            "response2": sentence(rng),
            "preference_strength": int(strength),
        }
        for n, strength in enumerate(rng.choice([-1, 1], 400, p=[0.8, 0.2]))
    ]
    finding = found(rows)
    assert finding.level == "look" and finding.figures["stood first in the row: more wins_share"] == pytest.approx(
        0.8, abs=0.06
    )


def test_single_judgements_are_told_by_cues_too():
    rng = np.random.default_rng(2)
    good = rng.random(400) < 0.2
    rows = [
        {"prompt": f"q{n}", "completion": sentence(rng, 20, 40) if ok else sentence(rng, 5, 22), "label": bool(ok)}
        for n, ok in enumerate(good)
    ]
    assert found(rows).level == "look"
    shuffled = [{**row, "label": bool(ok)} for row, ok in zip(rows, rng.permutation(good), strict=True)]
    assert found(shuffled).level != "look"


def test_the_classifier_finds_known_weights():
    rng = np.random.default_rng(3)
    w = np.array([1.0, -2.0, 0.0, 0.5])
    x = rng.normal(size=(20_000, 4))
    won = rng.random(20_000) < 1 / (1 + np.exp(-x @ w))
    np.testing.assert_allclose(fit(np.where(won[:, None], x, -x)), w, atol=0.08)


def test_the_fit_is_where_the_gradient_vanishes():
    x = np.random.default_rng(4).normal(size=(50, 6))
    w = fit(x)
    gradient = x.T @ (1 / (1 + np.exp(x @ w))) - w
    assert np.abs(gradient).max() < 1e-6
    separable = np.abs(x) * 30
    assert np.isfinite(fit(separable)).all() and (separable @ fit(separable) > 0).all()


def test_a_verdict_never_saw_its_own_prompt():
    """The feature tells prompts apart and each has a winner of its own: seen prompts would be told perfectly."""
    rng = np.random.default_rng(5)
    prompt = np.repeat(np.arange(100), 4)
    x = np.eye(100)[prompt] * rng.choice([-1, 1], 100)[prompt, None]
    assert (fit(x) @ x.T > 0).all()
    assert hits(unseen_scores(x, folds(prompt))).mean() == 0.5


def test_folds_hold_prompts_together():
    prompt = np.random.default_rng(6).integers(0, 50, 400)
    fold = folds(prompt)
    assert set(fold.tolist()) == {0, 1, 2, 3, 4}
    assert all(len(set(fold[prompt == one].tolist())) == 1 for one in set(prompt.tolist()))
    assert set(folds(np.array([3, 3, 9])).tolist()) == {0, 1}


def test_the_certain_end_holds_over_many_looks():
    """At the null, 40 shares looked at 200 times: about one time in 20 one of them is away from a half."""
    rng = np.random.default_rng(7)
    away = [
        any(certain_end((rng.random(200) < 0.5).astype(float), np.arange(200), 40) for _ in range(40))
        for _ in range(200)
    ]
    assert np.mean(away) < 0.12
    assert certain_end(np.ones(60), np.arange(60), 40) == pytest.approx((0.05 / 80) ** (1 / 60) - 0.5)
    assert certain_end(np.zeros(60), np.arange(60), 1) < -0.4 and certain_end(np.ones(1), np.ones(1), 1) == 0


def test_of_very_many_pairs_whole_prompts_are_drawn():
    data = columns(pairs(10, 300, coin, per_prompt=3))
    edges = decided(data)
    drawn = some(data, edges, 90)
    assert len(drawn) == 90 and len(set(data.prompt_E[drawn].tolist())) == 30
    assert some(data, edges) is edges and MOST > 160_000


def test_sets_without_pairs_are_fine():
    assert found([{"prompt": "p", "response": "r"}]).level == "fine"
    assert found(pairs(11, 60, coin, per_prompt=60)).level == "note"  # one prompt: no other to predict for


def test_features_that_say_nothing_can_be_left_out():
    """One feature that tells, 150 that do not, 300 rows: the others' noise costs accuracy unless they are left out."""
    rng = np.random.default_rng(12)
    x = rng.normal(size=(300, 151))
    x[:, 0] += 1.2
    fold = folds(np.arange(300))
    whole, chosen = hits(unseen_scores(x, fold)), hits(unseen_scores(x, fold, least=3.0))
    assert chosen.mean() > whole.mean() + 0.05 and chosen.mean() == pytest.approx(0.885, abs=0.05)  # Φ(1.2)
    nothing = rng.normal(size=(300, 5))
    assert hits(unseen_scores(nothing, fold, least=10.0)).mean() == 0.5
