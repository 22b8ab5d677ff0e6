"""A tiny model and a preference file on disk, for tests that run commands as a person would."""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from logratio.maths.counter import stream
from logratio.models.build import SPECIAL, build_llama, save_built, wrap_tokenizer

TOPICS = ("plot", "music", "cast", "ending", "camera")
FILMS = tuple(f"film{number}" for number in range(20))
GOOD = ("good", "warm", "clever")
BAD = ("bad", "dull", "weak")


def write_model(folder: Path, seed: int = 0) -> Path:
    """Save a random Llama of a few thousand parameters, whose tokens are words, and return its folder."""
    words = ["Review", "the", "is", ":", ".", "of", *FILMS, *TOPICS, *GOOD, *BAD]
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *words, *(f" {word}" for word in words)])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_next")
    backend.decoder = decoders.Fuse()
    shape = {"hidden": 32, "inner": 64, "layers": 2, "heads": 4, "max_positions": 256}
    model = build_llama(vocab_size=len(vocabulary), seed=seed, **shape)
    save_built(model, wrap_tokenizer(backend, max_length=256), folder)
    return folder


def write_pairs(path: Path, rows: int, seed: int = 0) -> Path:
    """Write preference pairs of which the chosen one praises, and return the file."""
    draw = stream(seed, "small pairs")
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(rows):
            film, topic, good, bad = (str(draw.choice(words)) for words in (FILMS, TOPICS, GOOD, BAD))
            said = {
                "prompt": f"Review the {topic} of {film} :",
                "chosen": f" {topic} is {good} .",
                "rejected": f" {topic} is {bad} .",
            }
            file.write(json.dumps(said) + "\n")
    return path
