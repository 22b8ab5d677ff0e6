"""Token lengths and coverage, with small real tokenizers and models made here."""

import numpy as np
import pytest
from judged_pairs import coin, columns, pairs

from logratio.audit.coverage import coverage
from logratio.audit.run import audit
from logratio.audit.tokens import tokens
from logratio.models.load import load_model


@pytest.fixture(scope="module")
def stories(request):
    """The smallest real model."""
    shared = request.getfixturevalue("shared_data")
    return load_model(str(shared / "models" / "stories-260k"))


def test_tokens_are_those_of_the_tokenizer(stories):
    rows = pairs(1, 40, coin)
    finding = tokens(columns(rows), stories.tokenizer, 512)
    count = [
        len(stories.tokenizer(row["prompt"], add_special_tokens=False).input_ids)
        + max(len(stories.tokenizer(row[side], add_special_tokens=False).input_ids) for side in ("chosen", "rejected"))
        for row in rows
    ]
    assert finding.figures["longest_tokens"] == max(count)
    assert finding.figures["median_tokens"] == int(np.quantile(count, 0.5, method="higher"))
    assert finding.figures["over_limit_share"] == np.mean([size > 512 for size in count])


@pytest.mark.parametrize(("long", "level"), [(0, "fine"), (1, "note"), (10, "look"), (120, "stop")])
def test_rows_beyond_the_limit(stories, long, level):
    rows = [
        {"prompt": f"q{n}", "chosen": "once upon a time " * (60 if n < long else 2), "rejected": f"no {n}"}
        for n in range(200)
    ]
    finding = tokens(columns(rows), stories.tokenizer, 128)
    assert finding.level == level and finding.figures["over_limit_share"] == long / 200
    assert bool(finding.remedy) == (level in ("look", "stop")) and len(finding.examples) == min(3, long)


def test_a_model_knows_its_own_stories_and_not_noise(stories, tmp_path, monkeypatch):
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path))
    names = ("Lily", "Tom", "Sue", "Ben", "Max", "Anna", "Tim", "Sara")
    rng = np.random.default_rng(0)
    rows = [
        {
            "prompt": f"Once upon a time, there was a child named {names[n % 8]}.",
            "chosen": f" {names[n % 8]} liked to play in the park with {n} friends. One day, they saw a big dog.",
            "rejected": " " + "".join(rng.choice(list("qxzjkvw#@%&"), 40)),
        }
        for n in range(40)
    ]
    finding = coverage(rows, stories)
    figures = finding.figures
    assert finding.level == "look" and finding.remedy and figures["pairs"] == 40
    assert figures["chosen_nats_per_token"] > -3 > figures["rejected_nats_per_token"]
    assert figures["chosen_more_likely_share"] == 1 and figures["initial_margin_nats_low"] > 0
    assert figures["rejected_far_off_share"] > 0.9 > 0.1 > figures["chosen_far_off_share"]
    again = coverage(rows, stories)
    assert again.figures == figures and list(tmp_path.rglob("*"))  # the second time from the cache


def test_coverage_equals_the_log_probs_of_transformers(stories, tmp_path, monkeypatch):
    import torch

    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path))
    rows = [{"prompt": "Once upon a time", "chosen": " there was a dog.", "rejected": " the cat sat down."}]
    figures = coverage(rows, stories).figures
    eos = stories.tokenizer.eos_token_id

    def logp(response):
        bos = [stories.tokenizer.bos_token_id]
        prompt = bos + stories.tokenizer("Once upon a time", add_special_tokens=False).input_ids
        whole = bos + stories.tokenizer("Once upon a time" + response, add_special_tokens=False).input_ids + [eos]
        with torch.no_grad():
            table = stories.model(torch.tensor([whole])).logits[0].log_softmax(-1)
        return sum(float(table[at - 1, whole[at]]) for at in range(len(prompt), len(whole)))

    expected = logp(" there was a dog.") - logp(" the cat sat down.")
    assert figures["initial_margin_nats"] == pytest.approx(expected, abs=1e-3)


def test_rows_of_a_generator_are_scored_as_those_of_a_list(stories, tmp_path, monkeypatch):
    """Coverage reads the data a second time, when a generator is spent."""
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path))
    rows = pairs(5, 12, coin)
    one, other = (audit(data, model=stories).findings[-1] for data in (rows, (row for row in rows)))
    assert one.name == "coverage" and one.figures == other.figures and other.figures["pairs"] == 12
