"""A run of a second or two on disk: a random Llama, a tokenizer of words, pairs, and a recipe with every part in it."""

import json
import os
import signal
from pathlib import Path
from unittest.mock import patch

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from logratio.logps import reference
from logratio.maths.counter import stream
from logratio.models.build import SPECIAL, build_llama, save_built, wrap_tokenizer
from logratio.train.api import train

WORDS = "the a film was is not good bad plot music ending and but I you it very so".split()
TIMES = ("time", "tokens_per_s", "judge_seconds")
"""The only fields of `metrics.jsonl` that differ between a run and its repetition."""

RECIPE = {
    "train.batch_size": 8,
    "train.lr": 1e-3,
    "eval.holdout": 0.2,
    "eval.samples": 1,
    "eval.max_new_tokens": 6,
    "tokens.max_length": 64,
    "every.eval": 0.25,
    "every.checkpoint": 0.1,
}


def word_tokenizer():
    vocabulary = [*SPECIAL, *(f" {word}" for word in WORDS)]
    made = Tokenizer(models.WordLevel({token: i for i, token in enumerate(vocabulary)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_next")
    made.decoder = decoders.Fuse()
    return wrap_tokenizer(made, max_length=64)


def start_model(folder, *, tied=True, seed=0) -> Path:
    """Write a random Llama of some 10,000 weights, and its tokenizer."""
    model = build_llama(
        vocab_size=len(WORDS) + len(SPECIAL), hidden=16, inner=24, layers=2, heads=2, max_positions=64, seed=seed
    )
    if not tied:
        model.config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().flip(0).contiguous())
    save_built(model, word_tokenizer(), folder)
    return folder


def pairs(n, *, seed=0):
    """Rows whose chosen text tends to say good and whose rejected text tends to say bad."""
    draw = stream(seed, "pairs of words")

    def text(least, most, ending=""):
        return "".join(f" {WORDS[i]}" for i in draw.integers(0, len(WORDS), draw.integers(least, most))) + ending

    return [{"prompt": text(2, 6), "chosen": text(2, 7, " good"), "rejected": text(2, 7, " bad")} for _ in range(n)]


def labelled(n, *, seed=0):
    """The same texts, one a row, with a label."""
    return [
        {"prompt": row["prompt"], "completion": row["chosen" if i % 3 else "rejected"], "label": bool(i % 3)}
        for i, row in enumerate(pairs(n, seed=seed))
    ]


def write_rows(path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def world(folder, *, n=60, rows=pairs, tied=True) -> dict:
    """Write model and data into `folder`; return the arguments of `train` that name them."""
    return {
        "model": str(start_model(folder / "start", tied=tied)),
        "data": str(write_rows(folder / "rows.jsonl", rows(n))),
    }


def run(*, block=None, cache=None, stop_at=None, **arguments):
    """Train by `RECIPE` with changes.

    Args:
        block: Groups a block of reference log-probs.
        cache: Folder of caches.
        stop_at: (kind, number, signals): at that event, as ("train", 3, ["SIGTERM"]), this process sends itself those.
    """
    torch.set_num_threads(1)
    if stop_at is not None:
        kind, number, names = stop_at

        def stop(event):
            if event.kind == kind and event.data.get("step", event.data.get("done")) == number:
                for name in names:
                    os.kill(os.getpid(), getattr(signal, name))

        arguments["on_event"] = stop
    environment = {} if cache is None else {"LOGRATIO_CACHE": str(cache)}
    with patch.dict(os.environ, environment), patch.object(reference, "BLOCK", block or reference.BLOCK):
        return train(**{"preflight": False, **RECIPE, **arguments})  # checks have tests of their own


def metrics(directory, *, times=False):
    """Return the rows of `metrics.jsonl`, without the fields that hold times."""
    rows = [json.loads(line) for line in (Path(directory) / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if times or key not in TIMES} for row in rows]
