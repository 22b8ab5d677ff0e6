"""Samples and held-out pairs → the browser of prompts: before and after, chosen and rejected."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .beside import Held
from .found import cut
from .kit import Prompted, Sample, Samples
from .read import Row
from .text import number, plain

PROMPTS = 24
"""Sampled prompts that are shown; further ones are counted."""

PAIRS = 72
"""Pairs that are shown beside those of sampled prompts: a third each of those whose margin fell most and rose most, and
of the rest at equal distances."""

CHARACTERS = 8_000
"""Characters of one prompt or sample that are shown; further ones are counted."""

PAIR_CHARACTERS = 2_000
"""The same of a pair's prompt and responses."""


def browser(rows: Sequence[Row], held: Held) -> Samples | None:
    """Return the browser of prompts; None where there are neither samples nor pairs."""
    sampled = _sampled(rows)
    pairs = {prompt: at for at, prompt in reversed([(i, pair.prompt) for i, pair in enumerate(held.pairs)])}
    shown, taken = [], set()
    for (prompt, _), by_step in list(sampled.items())[:PROMPTS]:
        at = pairs.get(prompt)
        taken.add(at)
        samples = [by_step[step] for step in sorted(by_step)]
        shown.append(_prompted(prompt, samples, held, at, CHARACTERS))
    shown += [
        _prompted(held.pairs[at].prompt, [], held, at, PAIR_CHARACTERS)
        for at in telling(held, [i for i in range(len(held.pairs)) if i not in taken])
    ]
    return Samples(shown) if shown else None


def lead(rows: Sequence[Row], held: Held) -> str:
    """Return what the browser shows, and how much it leaves out."""
    said = []
    if sampled := len(_sampled(rows)):
        said.append("Samples: the same prompts and random numbers at the steps you choose, picked before training.")
        if sampled > PROMPTS:
            said.append(f"Shown are the first {PROMPTS} of {sampled}; samples.jsonl has all.")
    if held.pairs:
        some = f" Of {len(held.pairs):,} in pairs.jsonl, those whose margin fell most and rose most, and some between."
        said.append(
            "Pairs: held-out judgements with the margin at the first and at the last evaluation."
            + (some if len(held.pairs) > PAIRS else "")
        )
    return " ".join(said)


def _sampled(rows: Sequence[Row]) -> dict[tuple[str, int], dict[int, Sample]]:
    """Return (prompt, its number) → step → sample."""
    found: dict[tuple[str, int], dict[int, Sample]] = {}
    for row in rows:
        ended = row.get("ended")
        text = cut(plain(row["text"]), CHARACTERS, " in samples.jsonl")
        sample = Sample(row["step"], text, ended if isinstance(ended, bool) else None)
        found.setdefault((plain(row.get("prompt", "")), row.get("index", 0)), {})[sample.step] = sample
    return found


def telling(held: Held, among: Sequence[int]) -> list[int]:
    """Return which pairs are shown, at most `PAIRS`, in the order of the data."""
    known = [at for at in among if _margins(held, at) is not None]
    if len(known) <= PAIRS:
        return sorted(known)
    rising = sorted(known, key=lambda at: held.margins[-1][at] - held.margins[0][at])
    third = PAIRS // 3
    middle = rising[third:-third]
    some = middle[:: -(-len(middle) // third)]
    return sorted({*rising[:third], *rising[-third:], *some})


def _margins(held: Held, at: int) -> tuple[float, float] | None:
    first, last = held.margins[0][at], held.margins[-1][at]
    return (first, last) if math.isfinite(first) and math.isfinite(last) else None


def _prompted(prompt: str, samples: Sequence[Sample], held: Held, at: int | None, most: int) -> Prompted:
    prompt = cut(prompt, most, " in samples.jsonl" if samples else " in pairs.jsonl")
    if at is None:
        return Prompted(prompt, samples)
    pair, margins = held.pairs[at], _margins(held, at)
    said = f"Row {pair.row}. Chosen {pair.length_chosen:,} tokens, rejected {pair.length_rejected:,}."
    if margins is not None:
        right = "ranked as people did" if margins[1] > 0 else "ranked against them"
        said += f" Margin {number(margins[0])} → {number(margins[1])} nats: {right}."
    chosen, rejected = (cut(text, PAIR_CHARACTERS, " in pairs.jsonl") for text in (pair.chosen, pair.rejected))
    return Prompted(prompt, samples, chosen, rejected, margins, said)
