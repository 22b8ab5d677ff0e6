"""A model made from nothing loads like any other."""

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from logratio.models.build import SPECIAL, build_llama, save_built, wrap_tokenizer

SHAPE = dict(vocab_size=9, hidden=16, inner=24, layers=2, heads=2, max_positions=32)


def word_tokenizer():
    vocabulary = [*SPECIAL, "a", " b", " c", ".", " a"]
    made = Tokenizer(models.WordLevel({t: i for i, t in enumerate(vocabulary)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?[a-z]+|[^a-z]"), behavior="isolated")
    made.decoder = decoders.Fuse()
    return made


def test_it_loads_with_the_auto_classes_and_keeps_every_weight(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = build_llama(**SHAPE, seed=0), wrap_tokenizer(word_tokenizer(), max_length=32)
    save_built(model, tokenizer, tmp_path)
    again, words = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert again.config.tie_word_embeddings and again.dtype == torch.float32
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert words("a b.").input_ids == [1, 4, 5, 7]
    assert words(" b", add_special_tokens=False).input_ids == [5]
    assert words.decode([1, 4, 5, 7, 2], skip_special_tokens=True) == "a b."
    assert words.decode([5, 7]) == " b."
    assert (words.pad_token_id, words.bos_token_id, words.eos_token_id, words.unk_token_id) == (0, 1, 2, 3)
    assert words.model_max_length == 32
    assert again.generation_config.eos_token_id == 2


def test_the_seed_decides_the_weights_and_leaves_the_global_stream_alone():
    torch.manual_seed(5)
    one = build_llama(**SHAPE, seed=1).state_dict()
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), drawn)
    same, other = build_llama(**SHAPE, seed=1).state_dict(), build_llama(**SHAPE, seed=2).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["model.embed_tokens.weight"], other["model.embed_tokens.weight"])
