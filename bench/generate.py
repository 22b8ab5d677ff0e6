"""Sampling against transformers' `generate`, in turn in one process: CPU, float32, random weights.

Both draw from the model's whole distribution. `generate` gets its prompts sorted by length, padded on the left, in the
better of two sizes of batch; its time is that of the better one. A rate counts tokens up to the first stop token, per
second of the process's own CPU time, so that a busy machine blurs but does not decide it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from .shapes import POSITIONS, Shape

SIZES = {
    "1m": Shape(hidden=128, layers=4, heads=4, kv_heads=4, inner=352, vocabulary=512, tied=False),
    "7m": Shape(hidden=256, layers=6, heads=4, kv_heads=4, inner=704, vocabulary=8192, tied=True),
    "60m": Shape(hidden=512, layers=8, heads=8, kv_heads=8, inner=1376, vocabulary=32768, tied=False),
}
PEER_ROWS = (32, 96)
"""Rows of a batch that `generate` is tried with."""
STOPS = 64
"""One token in so many of the vocabulary ends a response, where responses end."""


@dataclass(frozen=True)
class Case:
    """Prompts and how they are answered: lengths from `shortest` to `longest`, `k` samples of at most `limit`."""

    shortest: int
    longest: int
    prompts: int
    k: int
    limit: int
    ends: bool


_LEAST = 0.5
"""Seconds of CPU time that a rate is taken over."""

CASES = {
    "short, K=1": Case(16, 16, 48, 1, 48, ends=False),
    "short, K=4": Case(16, 16, 16, 4, 48, ends=False),
    "one prompt, K=1": Case(16, 16, 1, 1, 48, ends=False),
    "192 tokens, K=1": Case(192, 192, 16, 1, 48, ends=False),
    "192 tokens, K=4": Case(192, 192, 12, 4, 48, ends=False),
    "192 tokens, K=4, ending": Case(192, 192, 12, 4, 128, ends=True),
    "16 to 512 tokens, K=1": Case(16, 512, 24, 1, 48, ends=False),
    "16 to 512 tokens, K=4": Case(16, 512, 12, 4, 48, ends=False),
    "16 to 512 tokens, K=4, ending": Case(16, 512, 12, 4, 128, ends=True),
}


def build(shape: Shape) -> Any:
    """Return a Llama of random weights."""
    import transformers

    torch.manual_seed(0)
    config = shape.config(bos_token_id=None, eos_token_id=None, pad_token_id=0)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def prompts_of(case: Case, vocabulary: int) -> list[np.ndarray]:
    """Return prompts whose lengths are evenly spread over the case's range, in random order."""
    rng = np.random.default_rng(0)
    lengths = rng.permutation(np.linspace(case.shortest, case.longest, case.prompts).astype(int))
    return [rng.integers(1, vocabulary, length).astype(np.int32) for length in lengths]


def stops_of(case: Case, vocabulary: int) -> list[int]:
    """Return the tokens that end a response."""
    return list(range(1, vocabulary, STOPS)) if case.ends else []


def ours(model: Any, prompts: Sequence[np.ndarray], case: Case, stops: list[int]) -> int:
    """Sample; return how many tokens."""
    from logratio.rollout.generate import generate

    drawn = generate(model, prompts, k=case.k, max_new_tokens=case.limit, stop_ids=stops)
    return sum(len(sample.tokens) for samples in drawn for sample in samples)


def theirs(model: Any, prompts: Sequence[np.ndarray], case: Case, stops: list[int], rows: int) -> int:
    """Sample with transformers; return how many tokens, those after a stop token left out."""
    ordered, count = sorted(prompts, key=len), 0
    for start in range(0, len(ordered), max(1, rows // case.k)):
        batch = ordered[start : start + max(1, rows // case.k)]
        widest = max(map(len, batch))
        ids = torch.zeros(len(batch), widest, dtype=torch.int64)
        seen = torch.zeros_like(ids)
        for i, prompt in enumerate(batch):
            ids[i, widest - len(prompt) :] = torch.from_numpy(prompt)
            seen[i, widest - len(prompt) :] = 1
        drawn = model.generate(
            ids,
            attention_mask=seen,
            do_sample=True,
            top_k=0,
            top_p=1.0,
            num_return_sequences=case.k,
            max_new_tokens=case.limit,
            eos_token_id=stops or None,
            pad_token_id=0,
        )[:, widest:]
        ended = torch.isin(drawn, torch.tensor(stops, dtype=torch.int64))
        count += int((ended.cumsum(1) - ended.long() == 0).sum())
    return count


def rate(run: Callable[[], int]) -> float:
    """Return tokens per second of CPU time, over half a second of it at least."""
    began, tokens = time.process_time(), 0
    while not tokens or time.process_time() - began < _LEAST:
        tokens += run()
    return tokens / (time.process_time() - began)


def compare(model: Any, case: Case, repeats: int) -> dict[str, Any]:
    """Measure both sides in turn; return rates (medians) and the ratio with its spread."""
    vocabulary = model.config.vocab_size
    prompts, stops = prompts_of(case, vocabulary), stops_of(case, vocabulary)
    mine: list[float] = []
    peer: dict[int, list[float]] = {rows: [] for rows in PEER_ROWS}
    for _ in range(repeats):
        mine.append(rate(lambda: ours(model, prompts, case, stops)))
        for rows, rates in peer.items():
            rates.append(rate(partial(theirs, model, prompts, case, stops, rows)))
    best = max(peer, key=lambda rows: statistics.median(peer[rows]))
    ratios = [a / b for a, b in zip(mine, peer[best], strict=True)]
    return {
        "ours": statistics.median(mine),
        "generate": statistics.median(peer[best]),
        "generate_rows": best,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


def main(arguments: list[str]) -> int:
    """Print a table, or JSON, of rates and ratios."""
    parser = argparse.ArgumentParser(prog="python -m bench generate", description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--cases", nargs="+", metavar="WORD", help="only cases whose name contains one of these")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    from logratio.rollout.generate import plainly

    chosen = {name: case for name, case in CASES.items() if not given.cases or any(w in name for w in given.cases)}
    rows = []
    for size in given.sizes:
        model = build(SIZES[size])
        why = plainly(model, [np.ones(POSITIONS - 1, np.int32)], 1)
        if not given.json:
            print(f"{size}: {why or 'each prompt is encoded once'}; {torch.get_num_threads()} threads")
        for name, case in chosen.items():
            row = {"size": size, "case": name, **compare(model, case, given.repeats)}
            rows.append(row)
            if not given.json:
                spread = f"{min(row['ratios']):.2f}–{max(row['ratios']):.2f}"
                print(
                    f"  {name:32}{row['ours']:8.0f} tokens/s, generate {row['generate']:8.0f} "
                    f"(batches of {row['generate_rows']}): {row['ratio']:.2f}× ({spread})",
                    flush=True,
                )
    if given.json:
        print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(), "rows": rows}, indent=1))
    return 0
