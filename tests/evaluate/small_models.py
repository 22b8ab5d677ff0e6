"""Models and a tokenizer on disk, small enough to evaluate in a moment."""

import json
import shutil

import numpy as np
import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from logratio.config import RunConfig
from logratio.maths.counter import stream
from logratio.models.load import load_model
from worlds import tiny_llama

WORDS = "the a film was is not good bad plot music ending and but I you it very so".split()


def word_tokenizer(words=WORDS):
    """One token a word, with the space before it; texts have no BOS."""
    vocabulary = ["<pad>", "<s>", "</s>", "<unk>", *(f" {word}" for word in words)]
    backend = Tokenizer(models.WordLevel({token: i for i, token in enumerate(vocabulary)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_next")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def save(model, folder, tokenizer=None):
    model.generation_config.eos_token_id = 2
    model.save_pretrained(folder)
    (tokenizer or word_tokenizer()).save_pretrained(folder)
    return folder


def model(seed=0) -> LlamaForCausalLM:
    return tiny_llama(seed, vocab_size=len(WORDS) + 4, bos_token_id=1, eos_token_id=2, pad_token_id=0)


def nudged(source, size, seed=1) -> LlamaForCausalLM:
    """The same model with every weight moved by normal noise."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter += size * torch.randn(parameter.shape, generator=draw)
    return source


def pairs(n, seed=0):
    draw = stream(seed, "pairs of words")

    def text(least, most):
        return "".join(f" {WORDS[i]}" for i in draw.integers(0, len(WORDS), draw.integers(least, most)))

    return [{"prompt": text(2, 6), "chosen": text(2, 7), "rejected": text(2, 7)} for _ in range(n)]


def made_run(folder, start, trained, **recipe):
    """A run directory as a finished run leaves it, as far as evaluation reads it."""
    folder.mkdir()
    config = RunConfig(model=str(start), data="pairs.jsonl", objective={"name": "dpo", "beta": 0.3}, **recipe)
    (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    source = load_model(str(start))
    manifest = {
        "date": "2024-05-06",
        "model": {"name": str(start), "base": source.base, "fingerprint": source.fingerprint},
        "template_hash": None,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    shutil.copytree(trained, folder / "model")
    return folder


def slow_logp(model, prompt, response) -> np.ndarray:
    """Log-prob of each token of `response`, its EOS included, from one unpadded row."""
    tokenizer = word_tokenizer()
    before = tokenizer(prompt, add_special_tokens=False).input_ids
    after = [*tokenizer(response, add_special_tokens=False).input_ids, 2]
    ids = torch.tensor([[*before, *after]])
    with torch.no_grad():
        logp = model(input_ids=ids).logits[0, len(before) - 1 : -1].double().log_softmax(-1)
    return logp.gather(1, torch.tensor(after)[:, None])[:, 0].numpy()
