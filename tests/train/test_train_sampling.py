"""How a run's samples are generated is said where it is not the usual way."""

import pytest
import torch
import transformers

from logratio import train
from logratio.models.load import load_tokenizer
from small_files import write_model, write_pairs

QUICK = {"train.batch_size": 8, "eval.samples": 2, "eval.max_new_tokens": 4, "eval.holdout": 0.2, "every.eval": 1}


@pytest.mark.parametrize("window", [None, 4])
def test_a_window_too_short_for_prompt_and_sample_is_named(window, tmp_path):
    tokenizer = load_tokenizer(str(write_model(tmp_path / "model")))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.MistralConfig(
        **sizes, vocab_size=len(tokenizer), num_key_value_heads=2, sliding_window=window, max_position_embeddings=256
    )
    told = []
    data = write_pairs(tmp_path / "pairs.jsonl", 16)
    model = transformers.MistralForCausalLM(config)
    run = train(model, data, tokenizer=tokenizer, output=tmp_path / "run", on_event=told.append, **QUICK)
    assert run.status == "finished" and (run.directory / "samples.jsonl").read_text()
    notes = [event.data["text"] for event in told if event.kind == "note"]
    if window is None:
        assert notes == []
    else:
        (note,) = notes
        assert "transformers' own cache" in note and "sees 4 tokens back" in note
