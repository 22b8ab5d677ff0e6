"""Whether few prompts hold most of the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.tally import counted
from ..findings import Drawing, Finding, Level
from .judged import percent, several
from .rows import Rows

Ids = NDArray[Any]

TOP = 0.05
"""Share of rows with one prompt from which somebody should look."""

FEW = 50
"""Effective number of prompts below which somebody should look, where there are ten times as many rows."""

EXAMPLES = 5


def dominance(rows: Rows, form_T: Ids) -> Finding:
    """Say how unevenly rows are spread over prompts.

    The effective number of prompts is 1 / Σ p², with p the share of rows of each (inverse Simpson index): as many
    equally frequent prompts would be as uneven. Rows of one prompt are not independent, so it bounds what is learned
    and what an evaluation can tell.

    Args:
        rows: N rows.
        form_T: First text that differs from each in case and white space at most.
    """
    prompt, count = np.unique(form_T[rows.prompt_N], return_counts=True)
    empty = [text for text in prompt.tolist() if not rows.texts[text].strip()]
    if len(prompt) == len(empty):
        return Finding("dominant_prompts", "fine", "The rows have no prompts.", figures={"prompts": 0})
    order = np.argsort(-count, kind="stable")
    prompt, count = prompt[order], count[order]
    share = count / count.sum()
    effective = float(1 / (share**2).sum())
    figures = {
        "prompts": len(prompt),
        "rows": rows.count,
        "effective_prompts": effective,
        "top_share": float(share[0]),
        "top_hundredth_share": float(share[: max(1, len(share) // 100)].sum()),
        "rows_per_prompt_median": float(np.median(count)),
    }
    uneven = share[0] >= TOP and count[0] >= 20
    few = effective < FEW and rows.count >= 10 * FEW
    level: Level = "look" if uneven or few else "fine"
    spread = several(round(effective), "equally frequent prompt")
    return Finding(
        "dominant_prompts",
        level,
        f"{counted(rows.count)} on {several(len(prompt), 'prompt')}; the most frequent has "
        f"{percent(float(share[0]))} of them, and the spread is that of {spread}.",
        "What is learned, and every interval, rests on few prompts: hold out whole prompts, cap the rows of each, or "
        "bring more prompts."
        if level == "look"
        else "",
        figures,
        _lorenz(share),
        [
            rows.example_of(int((form_T[rows.prompt_N] == text).argmax()), f"its prompt has {counted(int(own))}")
            for text, own in zip(prompt[:EXAMPLES], count[:EXAMPLES], strict=True)
            if own > 1
        ],
    )


def _lorenz(share: NDArray[np.float64]) -> Drawing:
    at = np.unique(np.linspace(0, len(share), min(len(share), 100) + 1).astype(int))
    below = np.concatenate([[0.0], np.cumsum(share)])[at]
    return Drawing(
        "lines",
        "Rows held by the most frequent prompts",
        "prompts, the most frequent first (share)",
        "rows (share)",
        (at / len(share)).tolist(),
        {"rows": below.tolist()},
        "A straight line means that all prompts are equally frequent.",
    )
