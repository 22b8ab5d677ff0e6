"""What a run keeps of each held-out pair: margins whose mean is the evaluation's, the data's own texts and tokens."""

import json

import numpy as np
import pytest
import small_run

from logratio.train.pairlog import PAIRS


def lines(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module", params=["dpo", "reward"])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return small_run.run(**small_run.world(folder), objective=request.param, output=folder / "run").directory


def test_the_mean_over_pairs_is_what_each_evaluation_says(run):
    evals = [row for row in small_run.metrics(run) if row["kind"] == "eval"]
    kept = lines(run / "margins.jsonl")
    assert [row["step"] for row in kept] == [row["step"] for row in evals] and len(kept) > 3
    for row, measured in zip(kept, evals, strict=True):
        for name in row.keys() - {"step"}:
            assert np.mean(row[name]) == pytest.approx(measured[name]["mean"], rel=1e-4, abs=1e-6), name
    assert np.mean(kept[-1]["margin"]) > np.mean(kept[0]["margin"]) + 0.01


def test_every_pair_is_there_with_the_texts_and_tokens_that_were_scored(run):
    pairs, tokenizer = lines(run / "pairs.jsonl"), small_run.word_tokenizer()
    assert len(pairs) == len(lines(run / "margins.jsonl")[-1]["margin"]) <= PAIRS
    for pair in pairs:
        assert pair["chosen"].endswith(" good") and pair["rejected"].endswith(" bad")
        for side in ("chosen", "rejected"):
            assert pair[f"length_{side}"] == len(pair["ids"][side])
            assert tokenizer.decode(pair["ids"][side], skip_special_tokens=True) == pair[side]


def test_samples_and_pairs_of_a_prompt_are_found_by_its_text(run):
    samples = lines(run / "samples.jsonl")
    assert {row["prompt"] for row in samples} <= {pair["prompt"] for pair in lines(run / "pairs.jsonl")}


def test_without_pairs_nothing_is_kept(tmp_path):
    own = small_run.world(tmp_path, rows=small_run.labelled)
    directory = small_run.run(**own, objective="kto", output=tmp_path / "run").directory
    assert (directory / "margins.jsonl").read_text() == "" and not (directory / "pairs.jsonl").exists()
