"""Reward models: made from a language model, loaded as they are, saved so that transformers gives the same scores."""

import json

import numpy as np
import pytest
import torch
from test_models_save import disturb, gpt2, llama, tokenizer, write_source
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaForSequenceClassification

from logratio.batch.group import Group
from logratio.batch.needs import Needs
from logratio.batch.packed import pack
from logratio.config import LoraConfig
from logratio.errors import ModelError
from logratio.logps.policy import Policy
from logratio.models.load import load_model, loaded, stored_head
from logratio.models.merge import export
from logratio.models.save import save_model
from logratio.models.scalar import fresh, settle_padding

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
    pytest.mark.filterwarnings("ignore:Model (with|has) `tie_word_embeddings"),
]
PROMPTS = ["a good film", "music", "the bad and good film"]
RESPONSES = [[" with music.</s>", " bad.</s>"], [" and a film with good music.</s>"], [" .</s>", " a</s>"]]
EOS = 2


@pytest.fixture
def source(tmp_path):
    return write_source(llama(True), tmp_path / "source", torch.float32)


def scored(model, tok):
    """Scores by this program: each response at its last token."""
    groups = []
    for row, (prompt, responses) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        ids = [np.array(tok(text, add_special_tokens=False).input_ids, np.int32) for text in (prompt, *responses)]
        mask = tuple(np.ones(len(own), bool) for own in ids[1:])
        groups.append(Group(row, ids[0], tuple(ids[1:]), mask, np.zeros((0, 2), np.int32)))
    with torch.no_grad():
        return Policy(model)(pack(groups), Needs(head="score")).score_S.float()


def as_transformers_sees_them(folder, set_padding=False):
    """Scores of the saved folder by transformers alone, the texts padded to one batch."""
    tok = AutoTokenizer.from_pretrained(folder)
    texts = [prompt + response for prompt, own in zip(PROMPTS, RESPONSES, strict=True) for response in own]
    batch = tok(texts, add_special_tokens=False, padding=True, return_tensors="pt")
    assert len(set(batch.attention_mask.sum(1).tolist())) > 2
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1).eval()
    if set_padding:  # transformers takes an adapter's config from its base
        model.config.pad_token_id = tok.pad_token_id
    with torch.no_grad():
        return model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[:, 0].float()


@pytest.mark.parametrize("make", [lambda: llama(True), lambda: llama(False), gpt2], ids=["tied", "untied", "gpt2"])
def test_a_saved_reward_model_gives_transformers_the_same_scores_on_padded_rows(make, tmp_path):
    source = write_source(make(), tmp_path / "source", torch.float32)
    start = load_model(str(source), head="score")
    disturb(start.model)
    settle_padding(start.model, start.tokenizer, [EOS])
    save_model(start, start.tokenizer, tmp_path / "model")
    ours = scored(start.model, start.tokenizer)
    torch.testing.assert_close(as_transformers_sees_them(tmp_path / "model"), ours, rtol=1e-5, atol=1e-5)
    assert len(ours.unique()) == 5
    again = load_model(str(tmp_path / "model"), head="score")  # as it is: nothing is drawn anew
    torch.testing.assert_close(scored(again.model, again.tokenizer), ours, rtol=0, atol=1e-6)
    assert again.head_origin == f"as stored in {tmp_path / 'model'}" and stored_head(str(tmp_path / "model")) == "score"
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["pad_token_id"] == 0 and list(config["id2label"]) == ["0"]


def test_where_padding_is_the_end_of_turn_another_token_is_taken_or_scores_would_be_read_one_token_early(tmp_path):
    """Silent elsewhere: transformers looks for the last token that is not padding, and passes over the end of turn."""
    source = write_source(llama(True), tmp_path / "source", torch.float32)
    start = load_model(str(source), head="score")
    tok = start.tokenizer
    ours = scored(start.model, tok)
    tok.pad_token = "</s>"
    start.model.config.pad_token_id = EOS
    save_model(start, tok, tmp_path / "early")
    assert (as_transformers_sees_them(tmp_path / "early") - ours).abs().min() > 1e-3  # what must not happen
    assert settle_padding(start.model, tok, [EOS]) == "<pad>" and start.model.config.pad_token_id == 0
    save_model(start, tok, tmp_path / "right")
    torch.testing.assert_close(as_transformers_sees_them(tmp_path / "right"), ours, rtol=1e-5, atol=1e-5)


def test_a_tokenizer_without_a_token_to_pad_with_is_refused():
    tok = tokenizer()
    model = loaded(LlamaForSequenceClassification(llama(True).config), tok).model
    with pytest.raises(ModelError, match="no special token but those that end a response"):
        settle_padding(model, tok, [0, 1, 2, 3])


def test_a_fresh_head_comes_from_its_seed_alone(source):
    made = [load_model(str(source), head="score", seed=seed) for seed in (0, 0, 1)]
    first, same, other = (own.model.score.weight for own in made)
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert made[0].head_origin == "fresh, drawn from N(0, 1/(D+1)) by seed 0" and made[0].head == "score"
    wide = LlamaForSequenceClassification(llama(True).config).score.weight.new_zeros(1, 40_000)
    assert float(fresh(wide, 0).std()) == pytest.approx(40_001**-0.5, rel=0.02)
    body = load_model(str(source)).model.model
    assert all(torch.equal(a, b) for a, b in zip(made[0].model.model.parameters(), body.parameters(), strict=True))


def test_loading_draws_nothing_from_the_callers_random_state_and_says_nothing(source, caplog):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_model(str(source), head="score")
    assert torch.equal(torch.rand(3), expected)
    assert "REPORT" not in caplog.text  # that the head is missing is meant


def test_an_adapter_is_saved_with_its_head_and_merged_with_it(source, tmp_path):
    start = load_model(str(source), lora=LoraConfig(r=2), head="score")
    disturb(start.model)
    settle_padding(start.model, start.tokenizer, [EOS])
    ours = scored(start.model, start.tokenizer)
    save_model(start, start.tokenizer, tmp_path / "adapter")
    again = load_model(str(tmp_path / "adapter"), head=None)
    assert again.head == "score" and again.adapter == "loaded"
    torch.testing.assert_close(scored(again.model, again.tokenizer), ours, rtol=1e-5, atol=1e-5)
    theirs = as_transformers_sees_them(tmp_path / "adapter", set_padding=True)
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)
    export(tmp_path / "adapter", tmp_path / "merged", merge=True)
    torch.testing.assert_close(as_transformers_sees_them(tmp_path / "merged"), ours, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_is_said(source, tmp_path):
    start = load_model(str(source), head="score")
    save_model(start, start.tokenizer, tmp_path / "scorer")
    with pytest.raises(ModelError, match="is a reward model .*, so it predicts no tokens"):
        load_model(str(tmp_path / "scorer"))
    config = json.loads((tmp_path / "scorer" / "config.json").read_text())
    config |= {"id2label": {"0": "bad", "1": "good"}, "label2id": {"bad": 0, "good": 1}}
    (tmp_path / "scorer" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="classifier with 2 labels"):
        load_model(str(tmp_path / "scorer"), head="score")
    adapter = load_model(str(source), lora=LoraConfig(r=2))
    save_model(adapter, adapter.tokenizer, tmp_path / "adapter")
    with pytest.raises(ModelError, match="adapter of a language model.*logratio export --merge"):
        load_model(str(tmp_path / "adapter"), head="score")
