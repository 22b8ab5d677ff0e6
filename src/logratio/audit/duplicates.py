"""Rows, prompts and responses that repeat others, exactly or nearly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.tally import counted
from ..findings import Drawing, Example, Finding, Level
from .judged import percent, several
from .keys import earlier, hashed
from .rows import Rows
from .similar import NEAR, Alike

Ids = NDArray[Any]

LOOK = 0.01
"""Share of rows that repeat others from which somebody should look."""

EXAMPLES = 8


def row_keys(rows: Rows, name_T: Ids) -> NDArray[np.uint64]:
    """Return a hash of what each row says, uint64 [N]: its prompt, its responses, who judged them and how.

    Rows whose hashes agree say the same; judgements by different known annotators differ, so that a repeated judgement
    is no duplicate.

    Args:
        rows: N rows.
        name_T: Number of each text; texts with the same number count as the same.
    """
    key = hashed(name_T[rows.prompt_N])
    np.add.at(key, rows.at_S, hashed(name_T[rows.text_S]))
    one, other = name_T[rows.winner_E], name_T[rows.loser_E]
    swapped = rows.tie_E & (one > other)  # a tie has no order
    one, other = np.where(swapped, other, one), np.where(swapped, one, other)
    np.add.at(key, rows.at_E, hashed(one, other, rows.tie_E, rows.annotator_E, rows.criterion_E))
    np.add.at(key, rows.at_L, hashed(name_T[rows.response_L], rows.label_L))
    return key


def repeated(rows: Rows, name_T: Ids) -> NDArray[np.int64]:
    """Return for each row the first row that says the same, int64 [N]; itself where there is none before it."""
    return earlier(row_keys(rows, name_T))


def exact(rows: Rows, form_T: Ids) -> Finding:
    """Count rows that repeat an earlier one in all but case and white space.

    Args:
        rows: N rows.
        form_T: First text that differs from each in case and white space at most.
    """
    first = repeated(rows, form_T)
    copies = np.flatnonzero(first != np.arange(rows.count))
    share = len(copies) / max(1, rows.count)
    times = np.bincount(np.bincount(first, minlength=rows.count))[2:] if len(copies) else np.zeros(0, np.int64)
    figures = {
        "rows": rows.count,
        "repeated_rows": len(copies),
        "repeated_share": share,
        "distinct_prompts": len(np.unique(form_T[rows.prompt_N])),
        "distinct_responses": len(np.unique(form_T[rows.text_S])),
        "most_copies": 1 + int(np.bincount(first[copies]).max(initial=0)) if len(copies) else 1,
    }
    if not len(copies):
        return Finding("exact_duplicates", "fine", f"None of {counted(rows.count)} repeats another.", figures=figures)
    known = " The annotators are the same or unknown." if len(rows.annotators) else ""
    return Finding(
        "exact_duplicates",
        _level(share),
        f"{len(copies):,} of {counted(rows.count)} ({percent(share)}) repeat an earlier one, the most frequent "
        f"{figures['most_copies']:,} times.{known}",
        "A repeated row weighs as much as its copies: leave them out with --fix, or, if they are judgements by several "
        "people, name those in a column `annotator`.",
        figures,
        _sizes(times),
        [_example(rows, int(at), int(first[at]), "repeats") for at in copies[:EXAMPLES]],
    )


def near(rows: Rows, alike: Alike) -> Finding:
    """Count rows, prompts and responses that are nearly the same as an earlier one and not the same."""
    first = repeated(rows, alike.leader_T)
    same = repeated(rows, alike.form_T) != np.arange(rows.count)
    copies = np.flatnonzero((first != np.arange(rows.count)) & ~same)
    share = len(copies) / max(1, rows.count)
    prompts, prompt_copies = _near_texts(alike, rows.prompt_N)
    responses, response_copies = _near_texts(alike, rows.text_S)
    figures = {
        "near_rows": len(copies),
        "near_share": share,
        "near_prompts": len(prompt_copies),
        "distinct_prompts": prompts,
        "near_responses": len(response_copies),
        "distinct_responses": responses,
        "threshold": NEAR,
    }
    said = (
        f"{len(copies):,} of {counted(rows.count)} ({percent(share)}) nearly repeat an earlier one; "
        f"{len(prompt_copies):,} of {several(prompts, 'distinct prompt')} and {len(response_copies):,} of "
        f"{several(responses, 'distinct response')} are near copies of another (similarity from {NEAR:g})."
    )
    remedy = (
        "Near copies of rows add weight and no information, and may stand on both sides of a split: leave them out "
        "with --fix."
    )
    found = np.concatenate([prompt_copies, response_copies])
    if not len(found):
        return Finding("near_duplicates", "fine", said, figures=figures)
    rest = max(0, EXAMPLES - len(copies))
    return Finding(
        "near_duplicates",
        _level(share) if len(copies) else "note",
        said,
        remedy if len(copies) else "",
        figures,
        _similarities(alike.similarity_T[np.unique(found)]),
        [_example(rows, int(at), int(first[at]), "nearly repeats") for at in copies[:EXAMPLES]]
        + [_text_example(rows, alike, int(text)) for text in found[:rest]],
    )


def _near_texts(alike: Alike, texts: Ids) -> tuple[int, NDArray[np.int64]]:
    """Return how many distinct texts there are, and those that are near copies of another among them."""
    distinct = np.unique(alike.form_T[texts])
    leader = alike.leader_T[distinct]
    follows = earlier(leader) != np.arange(len(distinct))
    return len(distinct), distinct[follows]


def _level(share: float) -> Level:
    return "look" if share >= LOOK else "note"


def _sizes(times: NDArray[np.int64]) -> Drawing:
    """Draw how many rows stand there how often; `times[i]` rows stand there i + 2 times."""
    shown = [int(times[at]) if at < len(times) else 0 for at in range(4)] + [int(times[4:].sum())]
    names = ["2", "3", "4", "5", "6 and more"]
    return Drawing("bars", "Rows by how often they stand there", "times", "distinct rows", names, {"rows": shown})


def _similarities(values: NDArray[np.float64]) -> Drawing:
    edges = np.linspace(NEAR, 1.0, 11)
    counts = np.histogram(values, edges)[0]
    names = [f"{low:.2f}" for low in edges[:-1]]
    return Drawing(
        "bars", "How near the near copies are", "similarity from", "texts", names, {"texts": counts.tolist()}
    )


def _example(rows: Rows, at: int, first: int, verb: str) -> Example:
    texts: Sequence[int] = rows.text_S[rows.at_S == at].tolist()
    named = {f"response {number}": text for number, text in enumerate(texts, 1)}
    theirs = {f"its response {number}": text for number, text in enumerate(rows.text_S[rows.at_S == first].tolist(), 1)}
    if verb == "repeats":
        theirs = {}
    else:
        theirs = {"its prompt": int(rows.prompt_N[first]), **theirs}
    return rows.example_of(at, f"{verb} {rows.origin_of(first)}", **named, **theirs)


def _text_example(rows: Rows, alike: Alike, text: int) -> Example:
    """Return a text that is nearly another of the same part of its rows."""
    leader = int(alike.leader_T[text])
    holders = np.flatnonzero(alike.form_T[rows.prompt_N] == text)
    part = "prompt" if len(holders) else "response"
    at = int(holders[0]) if len(holders) else int(rows.at_S[(alike.form_T[rows.text_S] == text).argmax()])
    why = f"its {part} is {percent(float(alike.similarity_T[text]))} the same as another"
    return rows.example_of(at, why, **{part: text, "nearly the same": leader})
