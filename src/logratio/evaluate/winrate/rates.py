"""Figures of two models' duels: the win rate, and what to know before one believes it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...maths.intervals import share_interval
from .control import controlled
from .judging import Outcome
from .resample import mean_ends

RATIO = 1.25
"""Answers are equally long for the length-matched rate where the longer has at most so many times the characters."""


def figures(
    found: Sequence[Outcome],
    prompts: Sequence[str],
    *,
    kinds: Sequence[str | None] | None = None,
    difficulty: Sequence[float] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the figures of a over b as JSON values; measures are {mean, low, high, n, se}.

    rate         mean preference for a, ties ½; `bootstrap`: ends of the percentile bootstrap over prompts
    matched      the same, of duels whose answers are about equally long (`RATIO`)
    controlled   the same, at equal lengths by regression (`control`)
    flips        share of duels shown in both orders in which the orders name different winners
    shown_first  mean preference for the answer shown first, over both orders; ½ of a judge without position bias
    longer       mean preference for the longer answer
    both_bad     share of duels in which neither answer is acceptable
    wins, ties, losses, same, failed   counts of duels; `same` are ties between equal texts, `failed` have no verdict
    length_a, length_b                 mean characters
    categories   rate by category

    Args:
        found: Outcomes of one pair of models.
        prompts: Hash of each prompt, by its number.
        kinds: Category of each prompt.
        difficulty: Difficulty of each prompt.
        seed: Of the bootstrap.
    """
    known = [one for one in found if one.value is not None]
    names = [prompts[one.duel.question] for one in known]
    values = np.array([_of(one) for one in known])
    rate = share_interval(values, names or None)
    lengths = _lengths(known)
    at_length = None
    if known:
        hard = None if difficulty is None else [difficulty[one.duel.question] for one in known]
        at_length = controlled(values, lengths, names, difficulty=hard, seed=seed)
    near = [i for i, one in enumerate(known) if matched(one)]
    bootstrap = mean_ends(values, names, seed) if known else None
    return {
        "prompts": len({one.duel.question for one in known}),
        "wins": int((values > 0.5).sum()),
        "ties": int((values == 0.5).sum()),
        "losses": int((values < 0.5).sum()),
        "same": sum(one.duel.same for one in known),
        "failed": len(found) - len(known),
        "rate": {**rate.to_json(), "bootstrap": None if bootstrap is None else list(bootstrap)},
        "matched": _share([_of(known[i]) for i in near], [names[i] for i in near]),
        "controlled": at_length.to_json() if at_length is not None else None,
        **_order(known, names),
        "longer": _longer(known, names),
        "both_bad": _share([float(one.both_bad) for one in known], names),
        "length_a": float(lengths[0].mean()) if known else None,
        "length_b": float(lengths[1].mean()) if known else None,
        "categories": _categories(known, names, kinds),
    }


def matched(one: Outcome) -> bool:
    """Return whether a duel's answers are about equally long, in characters."""
    short, long = sorted((len(one.duel.first.text), len(one.duel.second.text)))
    return long <= RATIO * short


def _of(one: Outcome) -> float:
    return math.nan if one.value is None else one.value


def _lengths(known: Sequence[Outcome]) -> tuple[Any, Any]:
    first = np.array([len(one.duel.first.text) for one in known], np.float64)
    return first, np.array([len(one.duel.second.text) for one in known], np.float64)


def _order(known: Sequence[Outcome], names: Sequence[str]) -> dict[str, Any]:
    told = [(name, float(one.flipped)) for one, name in zip(known, names, strict=True) if one.flipped is not None]
    first = [(name, one.shown_first) for one, name in zip(known, names, strict=True) if one.shown_first is not None]
    return {
        "flips": _share([value for _, value in told], [name for name, _ in told]),
        "shown_first": _share([value for _, value in first], [name for name, _ in first]),
    }


def _longer(known: Sequence[Outcome], names: Sequence[str]) -> dict[str, Any]:
    apart = [i for i, one in enumerate(known) if len(one.duel.first.text) != len(one.duel.second.text)]
    values = []
    for i in apart:
        own = known[i]
        ahead = len(own.duel.first.text) > len(own.duel.second.text)
        values.append(_of(own) if ahead else 1 - _of(own))
    return _share(values, [names[i] for i in apart])


def _categories(
    known: Sequence[Outcome], names: Sequence[str], kinds: Sequence[str | None] | None
) -> Mapping[str, dict[str, Any]]:
    if kinds is None:
        return {}
    rows: dict[str, list[int]] = {}
    for i, one in enumerate(known):
        kind = kinds[one.duel.question]
        if kind is not None:
            rows.setdefault(kind, []).append(i)
    return {kind: _share([_of(known[i]) for i in own], [names[i] for i in own]) for kind, own in sorted(rows.items())}


def _share(values: Sequence[float], clusters: Sequence[str]) -> dict[str, Any]:
    return share_interval(values, clusters or None).to_json()
