"""The classifier of reviews learns, says the same when read back, and keeps held-out reviews apart."""

import gzip
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from logratio.config import JudgeConfig
from logratio.rollout.judge import Asked
from logratio.rollout.judges import open_judge

FILE = Path(__file__).parents[1] / "recipes" / "imdb" / "sentiment.py"


@pytest.fixture(scope="module")
def sentiment():
    spec = importlib.util.spec_from_file_location("sentiment", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def review(positive, draw):
    words = ["good", "great"] if positive else ["bad", "dull"]
    filler = [f"w{i}" for i in draw.integers(0, 50, 12)]
    at = int(draw.integers(0, 12))
    return " ".join([*filler[:at], words[int(draw.integers(0, 2))], *filler[at:]])


def reviews(n, seed):
    draw = np.random.default_rng(seed)
    return [(review(i % 2, draw), i % 2) for i in range(n)]


def test_it_learns_and_its_judge_says_the_same_after_reading_it_back(sentiment, tmp_path, monkeypatch):
    weights = sentiment.fit(reviews(300, 0), epochs=3)
    assert sentiment.accuracy(weights, reviews(200, 1)) > 0.95
    np.savez(tmp_path / "weights.npz", weights=weights)
    monkeypatch.setenv("SENTIMENT", str(tmp_path / "weights.npz"))
    asked = Asked("It was ", ("great fun", "dull stuff", "stuff"))
    ((good, bad, plain),) = [one.scores for one in open_judge(JudgeConfig(function=f"{FILE}:score"))([asked])]
    assert bad < plain < good
    assert (good, bad) == pytest.approx(sentiment.probabilities(weights, ["It was great fun", "It was dull stuff"]))


def test_held_out_reviews_are_told_by_their_text_alone(sentiment, tmp_path):
    rows = reviews(2_000, 2)
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(
            json.dumps({"text": text, "label": label, "id": i}) + "\n" for i, (text, label) in enumerate(rows)
        )
    read = list(sentiment.reviews(str(tmp_path / "rows.jsonl.gz")))
    assert read == rows
    share = np.mean([sentiment.held_out(text) for text, _ in read])
    assert share == pytest.approx(1 / sentiment.HELD_OUT, abs=0.03)


def test_case_marks_and_breaks_do_not_hide_a_word(sentiment):
    assert sentiment.features("GOOD") == sentiment.features("good,") == sentiment.features("good<br />")
    assert sentiment.features("not good") != sentiment.features("good not")
