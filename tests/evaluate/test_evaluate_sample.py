import json

import numpy as np
import pytest
from small_models import made_run, model, nudged, pairs, save, word_tokenizer
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM

from logratio import evaluate
from logratio.errors import RunError
from logratio.evaluate.sample import side_by_side
from logratio.rollout.generate import generate, stop_tokens

PROMPTS = [" the film was", " I"]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return save(model(), tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    return save(nudged(model(), 0.2), tmp_path_factory.mktemp("moved"))


def test_both_sides_are_what_each_model_generates_alone(start, moved):
    rows = side_by_side(moved, PROMPTS, reference=str(start), k=2, max_new_tokens=10, seed=3)
    tokenizer = word_tokenizer()
    prompts = [np.array(tokenizer(text, add_special_tokens=False).input_ids, np.int32) for text in PROMPTS]
    for side, folder in (("policy", moved), ("reference", start)):
        own = AutoModelForCausalLM.from_pretrained(folder)
        drawn = generate(own, prompts, k=2, max_new_tokens=10, stop_ids=stop_tokens(own, tokenizer), seed=3)
        for row, samples in zip(rows, drawn, strict=True):
            assert [shown["text"] for shown in row[side]] == [
                tokenizer.decode(sample.tokens, skip_special_tokens=True) for sample in samples
            ]
            assert [(shown["tokens"], shown["ended"]) for shown in row[side]] == [
                (len(sample.tokens), sample.ended) for sample in samples
            ]
    assert [row["prompt"] for row in rows] == PROMPTS
    assert any(row["policy"] != row["reference"] for row in rows)


def test_equal_models_say_the_same(start):
    for row in side_by_side(start, PROMPTS, reference=str(start), k=3, max_new_tokens=10):
        assert row["policy"] == row["reference"]


def test_without_a_reference_there_is_one_side(start):
    rows = side_by_side(start, PROMPTS, temperature=0, max_new_tokens=5)
    assert all(row["reference"] is None and len(row["policy"]) == 1 for row in rows)


def test_a_run_shows_its_fixed_prompts(tmp_path, start, moved):
    run = made_run(tmp_path / "run", start, moved)
    with pytest.raises(RunError, match="--prompt"):
        side_by_side(run)
    shown = ["<s> the plot", "<s> so is the music"]
    rows = [{"step": step, "prompt": prompt, "text": "", "tokens": 0} for step in (0, 5) for prompt in shown]
    (run / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = side_by_side(run, max_new_tokens=6)
    assert [row["prompt"] for row in rows] == shown
    assert all(row["policy"] and row["reference"] for row in rows)


def test_a_model_by_itself_has_no_fixed_prompts(start):
    with pytest.raises(RunError, match="no run"):
        side_by_side(start)


@pytest.mark.parametrize("window", [3, None])
def test_the_slower_way_of_sampling_is_told(window):
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokenizer = word_tokenizer()
    config = MistralConfig(**sizes, vocab_size=len(tokenizer), num_key_value_heads=2, sliding_window=window)
    own, told = MistralForCausalLM(config), []
    side_by_side(own, PROMPTS, tokenizer=tokenizer, max_new_tokens=4, tell=told.append)
    lines = evaluate(own, data=pairs(4), tokenizer=tokenizer, samples=2, max_new_tokens=4)["about"]["rows"]
    said = [line for line in [*told, *lines] if "transformers' own cache" in line]
    assert len(said) == (0 if window is None else 2)
    assert all("sees 3 tokens back" in line for line in said)
