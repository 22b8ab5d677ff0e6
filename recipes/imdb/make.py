"""Prompts and preferences of the controlled-sentiment study on real reviews (arXiv:2305.18290, section 6.1).

    python recipes/imdb/make.py --data data/imdb/train.jsonl.gz --model models/reviews-7m --out runs/imdb

Prompts are the first 2 to 8 tokens of reviews; the model answers each four times, and the classifier of sentiment.py,
which must be there, says which of two answers is the more positive. Writes `pairs.jsonl` (prompt, chosen, rejected: all
six pairs of a prompt), `prompts.jsonl`, and `eval.jsonl`, pairs of reviews that nothing learned from.
"""

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sentiment import held_out, reviews, score

from logratio.models.load import load_model
from logratio.rollout.generate import generate, stop_tokens

SHORTEST, LONGEST = 2, 8


def prefixes(path: str, tokenizer: Any, n: int, *, test: bool, seed: int) -> list[str]:
    """Return n different beginnings of reviews, of those held out or of the others."""
    draw = np.random.default_rng([seed, test])
    found: dict[str, None] = {}
    for text, _ in reviews(path):
        ids = tokenizer.encode(text.replace("<br />", " "), add_special_tokens=False)
        prompt = tokenizer.decode(ids[: int(draw.integers(SHORTEST, LONGEST + 1))])
        if held_out(text) == test:
            found[prompt] = None
        if len(found) == n:
            break
    return list(found)


def pairs(prompts: Sequence[str], drawn: Sequence[Sequence[str]]) -> Iterator[dict[str, str]]:
    """Yield every pair of a prompt's answers that differ in score, the better one chosen."""
    for prompt, texts in zip(prompts, drawn, strict=True):
        scores = score([prompt] * len(texts), texts, [{}] * len(texts))
        for i, j in itertools.combinations(range(len(texts)), 2):
            won, lost = (i, j) if scores[i] > scores[j] else (j, i)
            if scores[i] != scores[j] and texts[won].strip() and texts[lost].strip():
                yield {"prompt": prompt, "chosen": texts[won], "rejected": texts[lost]}


def main() -> None:
    """Draw, judge and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="labelled reviews, .jsonl.gz with text and label")
    parser.add_argument("--model", required=True, help="folder of the model that answers")
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    parser.add_argument("--prompts", type=int, default=600, help="prompts to learn from")
    parser.add_argument("--held-out", type=int, default=200, help="prompts to measure on")
    parser.add_argument("--tokens", type=int, default=48, help="length of an answer, at most")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    made = load_model(options.model)
    for name, n, test in (("pairs", options.prompts, False), ("eval", options.held_out, True)):
        prompts = prefixes(options.data, made.tokenizer, n, test=test, seed=options.seed)
        ids = [np.array(made.tokenizer.encode(prompt), np.int32) for prompt in prompts]
        stops = stop_tokens(made.model, made.tokenizer)
        drawn = generate(made.model, ids, k=4, max_new_tokens=options.tokens, stop_ids=stops, seed=options.seed)
        texts = [[made.tokenizer.decode(one.tokens.tolist(), skip_special_tokens=True) for one in own] for own in drawn]
        rows = list(pairs(prompts, texts))
        _write(options.out / f"{name}.jsonl", rows)
        print(f"{name}.jsonl: {len(rows):,} pairs at {len(prompts):,} prompts")
        if not test:
            _write(options.out / "prompts.jsonl", [{"prompt": prompt} for prompt in prompts])


def _write(path: Path, rows: Sequence[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
