"""Token lengths: how long rows are under a tokenizer, against what the model can hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import TokensConfig
from ..data.tally import counted
from ..findings import Drawing, Figure, Finding, Level
from ..maths.counter import permutation
from .judged import percent
from .rows import Rows

MOST = 20_000
"""Rows whose tokens are counted; of more, so many are drawn."""

SOME, MANY = 0.01, 0.5
"""Shares of rows beyond the limit from which somebody should look, and from which training on them is pointless."""

_LIMITS = (512, 1024, 2048, 4096, 8192)
_QUANTILES = (0.5, 0.9, 0.99, 1.0)
_BATCH = 1_024
_BARS = 20


def tokens(rows: Rows, tokenizer: Any, context: int | None = None) -> Finding:
    """Say how many tokens a prompt has with its longest response.

    Args:
        rows: The data.
        tokenizer: A transformers tokenizer backed by the tokenizers library. Its chat template is not applied, so that
            a chat has some tokens more.
        context: Tokens that the model can hold; None where that is not known. What training keeps without being told
            otherwise is another limit.
    """
    limit = min(context or TokensConfig().max_length, TokensConfig().max_length)
    drawn = np.sort(permutation(rows.count, 0, 0)[:MOST])
    size_T = _sizes(rows, drawn, tokenizer)
    longest_N = np.zeros(rows.count, np.int64)
    np.maximum.at(longest_N, rows.at_S, size_T[rows.text_S])
    total = (size_T[rows.prompt_N] + longest_N)[drawn]
    if not len(total):
        return Finding("tokens", "fine", "There are no rows whose tokens could be counted.")
    over = float((total > limit).mean())
    level: Level = "stop" if over > MANY else "look" if over > SOME else "note" if over else "fine"
    middle, high, far, most = (int(np.quantile(total, q, method="higher")) for q in _QUANTILES)
    order = np.argsort(-total, kind="stable")[:3]
    return Finding(
        "tokens",
        level,
        f"A prompt with its longest response has {middle:,} tokens in the median, {far:,} at the 99th percentile and "
        f"{most:,} at most; {percent(over)} of {counted(len(total))} have more than {limit:,}.",
        "" if level in ("fine", "note") else _remedy(limit, context, far),
        figures={
            "rows": len(total),
            "limit_tokens": limit,
            "context_tokens": context,
            "median_tokens": middle,
            "p90_tokens": high,
            "p99_tokens": far,
            "longest_tokens": most,
            "over_limit_share": over,
            **_over(total),
        },
        drawing=_drawing(total, limit),
        examples=[rows.example_of(int(drawn[i]), f"{total[i]:,} tokens.") for i in order if total[i] > limit],
    )


def _remedy(limit: int, context: int | None, far: int) -> str:
    if context is not None and limit == context:
        return (
            f"The model holds {context:,} tokens: shorten those rows, leave them out, or take a model that holds more."
        )
    return f"Set tokens.max_length to some {far:,}, or let tokens.overflow say what happens to longer rows."


def _sizes(rows: Rows, drawn: NDArray[np.int64], tokenizer: Any) -> NDArray[np.int64]:
    """Return tokens of each text that the drawn rows use, int64 [T]; 0 of others."""
    chosen = np.zeros(rows.count, np.bool_)
    chosen[drawn] = True
    used = np.unique(np.concatenate([rows.prompt_N[drawn], rows.text_S[chosen[rows.at_S]]]))
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    size = np.zeros(len(rows.texts), np.int64)
    for low in range(0, len(used), _BATCH):
        own = used[low : low + _BATCH]
        encoded = backend.encode_batch_fast([rows.texts[text] for text in own], add_special_tokens=False)
        size[own] = [len(one.ids) for one in encoded]
    return size


def _over(total: NDArray[np.int64]) -> dict[str, Figure]:
    return {f"over_{limit}_tokens_share": float((total > limit).mean()) for limit in _LIMITS}


def _drawing(total: NDArray[np.int64], limit: int) -> Drawing:
    edges = np.linspace(0, max(1, int(np.quantile(total, 0.995))), _BARS + 1)
    counts, _ = np.histogram(np.minimum(total, edges[-1]), bins=edges)
    names = [f"{low:.0f} to {high:.0f}" for low, high in zip(edges[:-1], edges[1:], strict=True)]
    return Drawing(
        "bars",
        "Tokens of a prompt with its longest response",
        "tokens",
        "rows",
        names,
        {"rows": counts.astype(float).tolist()},
        f"The last bar holds all longer rows too; the limit is {limit:,} tokens.",
    )
