"""A sentiment classifier as a judge: logistic regression on hashed words and pairs of words of labelled reviews.

    python recipes/imdb/sentiment.py --data data/imdb/train.jsonl.gz --out runs/imdb/sentiment.npz

A judge is then `recipes/imdb/sentiment.py:score`: the probability that prompt and response together are positive.
Weights are a plain array, read without pickle, from $SENTIMENT or runs/imdb/sentiment.npz.
"""

import argparse
import gzip
import json
import os
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from zlib import crc32

import numpy as np
import torch

SIZE = 1 << 18
"""Hashed features."""

HELD_OUT = 10
"""One review in so many, by the hash of its text, is kept from training."""


def features(text: str) -> list[int]:
    """Return the places of the different words and pairs of neighbouring words of a text, lower case."""
    words = re.findall(r"[a-z']+|[!?]", text.lower().replace("<br />", " "))
    grams = {*words, *map(" ".join, zip(words, words[1:], strict=False))}
    return sorted({crc32(gram.encode()) % SIZE for gram in grams})


def reviews(path: str) -> Iterator[tuple[str, int]]:
    """Yield (text, 1 for positive or 0 for negative)."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield row["text"], int(row["label"])


def held_out(text: str) -> bool:
    """Whether a review is kept from training, of this classifier and of everything that is judged by it."""
    return crc32(text.encode()) % HELD_OUT == 0


def cut(text: str, draw: np.random.Generator) -> str:
    """Return a beginning, middle or end of a review, 8 to 60 words: what the judge will see is as short."""
    words = text.replace("<br />", " ").split()
    size = int(draw.integers(8, 61))
    start = int(draw.integers(0, max(1, len(words) - size)))
    return " ".join(words[start : start + size])


def fit(rows: Sequence[tuple[str, int]], *, epochs: int = 4, decay: float = 1e-6, seed: int = 0) -> np.ndarray:
    """Return weights [SIZE + 1], the last one the intercept, by Adam on the logistic loss.

    Each review is seen whole and as a short cut, another one in each epoch.
    """
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    bag = torch.nn.EmbeddingBag(SIZE, 1, mode="sum", sparse=False)
    torch.nn.init.zeros_(bag.weight)
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([bag.weight, bias], lr=5e-3)
    whole = [features(text) for text, _ in rows]
    label = torch.tensor([float(positive) for _, positive in rows])
    for epoch in range(epochs):
        short = [features(cut(text, draw)) for text, _ in rows]
        order = draw.permutation(2 * len(rows))
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * (1 - epoch / epochs)
        for part in np.array_split(order, max(1, len(order) // 256)):
            own = [(whole if i < len(rows) else short)[i % len(rows)] for i in part]
            logit = bag(*_bags(own))[:, 0] + bias
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, label[part % len(rows)])
            loss = loss + decay * bag.weight.square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return np.concatenate([bag.weight.detach().numpy()[:, 0], bias.detach().numpy()]).astype(np.float32)


def probabilities(weights: np.ndarray, texts: Sequence[str]) -> list[float]:
    """Return the probability that each text is positive."""
    logits = [float(weights[features(text)].sum() + weights[-1]) for text in texts]
    return [1 / (1 + float(np.exp(-logit))) for logit in logits]


def score(prompts: Sequence[str], responses: Sequence[str], rows: Sequence[object]) -> list[float]:
    """Return p(positive) of each prompt with its response: a judge."""
    texts = [prompt + response for prompt, response in zip(prompts, responses, strict=True)]
    return probabilities(_weights(os.environ.get("SENTIMENT", "runs/imdb/sentiment.npz")), texts)


def accuracy(weights: np.ndarray, rows: Sequence[tuple[str, int]]) -> float:
    """Return the share of texts whose label is the likelier one."""
    found = probabilities(weights, [text for text, _ in rows])
    return float(np.mean([(p > 0.5) == positive for p, (_, positive) in zip(found, rows, strict=True)]))


@cache
def _weights(path: str) -> np.ndarray:
    with np.load(path, allow_pickle=False) as file:
        weights: np.ndarray = file["weights"]
    return weights


def _bags(own: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    ends = np.cumsum([0, *map(len, own)])
    return torch.tensor([place for one in own for place in one]), torch.tensor(ends[:-1])


def main() -> None:
    """Train on nine tenths of the reviews and say how often the other tenth is told right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="labelled reviews, .jsonl.gz with text and label")
    parser.add_argument("--out", required=True, type=Path, help="file to write, .npz")
    options = parser.parse_args()
    rows = list(reviews(options.data))
    weights = fit([row for row in rows if not held_out(row[0])])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(options.out, weights=weights)
    test = [row for row in rows if held_out(row[0])]
    draw = np.random.default_rng(1)
    short = [(cut(text, draw), label) for text, label in test]
    print(f"{len(rows) - len(test):,} reviews learned from, {len(test):,} held out")
    print(f"accuracy on whole reviews {accuracy(weights, test):.3f}")
    print(f"accuracy on cuts of 8 to 60 words {accuracy(weights, short):.3f}")


if __name__ == "__main__":
    main()
