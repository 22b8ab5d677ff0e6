"""Refusals: how many preferred and other responses refuse, and which wins where only one does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..cues.chars import Characters
from ..cues.refusals import LISTS, REACH, judged
from ..cues.scripts import NAMES
from ..findings import Drawing, Finding, Level
from ..maths.intervals import Measure, share_interval
from .judged import FEWEST, decided, figures, percent, spread
from .rows import Rows

OFTEN = 0.05
"""Share of pairs in which exactly one refuses, from which it can shape the policy."""

FAR = 0.70
"""Share of those that the refusal wins (or loses), for certain, above which somebody should look."""

_BATCH = 4_096  # texts handled at once

UNKNOWN, NO, YES = -1, 0, 1


def refusals(rows: Rows) -> Finding:
    """Say how often responses refuse; texts in scripts for which no phrases are known are left out, and counted."""
    edges = decided(rows)
    if not len(edges):
        return _single(rows) if len(rows.label_L) else Finding("refusals", "fine", "No pair has a winner.")
    used = np.unique(np.concatenate([rows.winner_E[edges], rows.loser_E[edges]]))
    verdict_T, silent = verdicts(rows, used)
    chosen, rejected = verdict_T[rows.winner_E[edges]], verdict_T[rows.loser_E[edges]]
    known = np.flatnonzero((chosen != UNKNOWN) & (rejected != UNKNOWN))
    if not len(known):
        return Finding("refusals", "fine", f"Nothing is said of refusals: no phrases are known for {_listed(silent)}.")
    edges, chosen, rejected = edges[known], chosen[known] == YES, rejected[known] == YES
    prompt = rows.prompt_E[edges]
    one = chosen != rejected
    shares = {
        "chosen_refuses_share": share_interval(chosen, prompt),
        "rejected_refuses_share": share_interval(rejected, prompt),
        "both_refuse_share": share_interval(chosen & rejected, prompt),
        "one_refuses_share": share_interval(one, prompt),
        "refusal_wins_share": share_interval(chosen[one], prompt[one]),
    }
    wins, often = shares["refusal_wins_share"], shares["one_refuses_share"].mean or 0.0
    level = _level(wins, often)
    left = f"; {len(used) - _known(verdict_T, used):,} texts in {_listed(silent)} were not looked at" if silent else ""
    return Finding(
        "refusals",
        level,
        _sentence(shares) + left + ".",
        _remedy(level, wins),
        figures={"pairs": len(edges), **{key: value for name, one in shares.items() for key, value in _of(name, one)}},
        drawing=_drawing(shares),
        examples=[
            rows.example(int(edges[i]), f"Only the {'preferred' if chosen[i] else 'other'} response refuses.")
            for i in np.flatnonzero(one)[:3]
        ],
    )


def verdicts(rows: Rows, used: NDArray[np.int32]) -> tuple[NDArray[np.int8], Counter[str]]:
    """Return each text's verdict (−1 unknown, 0, 1) and how many of `used` are in scripts without a list."""
    verdict = np.full(len(rows.texts), UNKNOWN, np.int8)
    silent: Counter[str] = Counter()
    for low in range(0, len(used), _BATCH):
        own = used[low : low + _BATCH]
        chars = Characters([rows.texts[text][:REACH] for text in own])
        found = judged(chars)
        verdict[own] = [UNKNOWN if one is None else int(one) for one in found]
        scripts = (chars.main_N[n] for n, one in enumerate(found) if one is None)
        silent.update(NAMES[script] for script in scripts if script >= 0)
        bare = [n for n, script in enumerate(chars.main_N) if script < 0]
        verdict[own[bare]] = NO  # without a letter nothing is refused
    return verdict, silent


def _known(verdict_T: NDArray[np.int8], used: NDArray[np.int32]) -> int:
    return int((verdict_T[used] != UNKNOWN).sum())


def _of(name: str, measure: Measure) -> Sequence[tuple[str, float | int | str | None]]:
    return list(figures(name, measure).items())


def _level(wins: Measure, often: float) -> Level:
    if wins.low is None or wins.high is None or wins.n < FEWEST // 2 or often < OFTEN:
        return "fine" if not wins.n else "note"
    return "look" if wins.low > FAR or wins.high < 1 - FAR else "note"


def _remedy(level: Level, wins: Measure) -> str:
    if level != "look":
        return ""
    if (wins.mean or 0) > 0.5:
        return (
            "If this is safety data, mix in pairs in which a helpful answer beats a needless refusal; else expect a "
            "policy that refuses more, and watch it on harmless prompts."
        )
    return "Expect a policy that refuses less; check on prompts that it should refuse."


def _listed(silent: Counter[str]) -> str:
    return ", ".join(name for name, _ in silent.most_common(4)) or "texts without letters"


def _sentence(shares: dict[str, Measure]) -> str:
    chosen, rejected = shares["chosen_refuses_share"], shares["rejected_refuses_share"]
    said = f"{spread(chosen)} of preferred and {spread(rejected)} of other responses refuse"
    if not (wins := shares["refusal_wins_share"]).n:
        return said
    often = percent(shares["one_refuses_share"].mean)
    return f"{said}; where only one does ({often} of pairs), the refusal wins {spread(wins)}"


def _drawing(shares: dict[str, Measure]) -> Drawing:
    names = [name.removesuffix("_share").replace("_", " ") for name in shares]
    languages = ", ".join(sorted(LISTS))
    return Drawing(
        "bars",
        "Refusals",
        "where",
        "share of pairs",
        names,
        {"share": [one.mean for one in shares.values()]},
        f"Found by phrases in the first {REACH} characters, in {languages}; the last bar: of pairs where one does.",
    )


def _single(rows: Rows) -> Finding:
    """Single judgements: how many good and bad responses refuse."""
    verdict_T, silent = verdicts(rows, np.unique(rows.response_L))
    refuses = verdict_T[rows.response_L]
    known = refuses != UNKNOWN
    if not known.any():
        return Finding("refusals", "fine", f"Nothing is said of refusals: no phrases are known for {_listed(silent)}.")
    sides = {
        name: share_interval((refuses == YES)[known & side], rows.prompt_L[known & side])
        for name, side in (("good", rows.label_L), ("bad", ~rows.label_L))
    }
    return Finding(
        "refusals",
        "note" if any(one.mean for one in sides.values()) else "fine",
        f"{spread(sides['good'])} of responses judged good and {spread(sides['bad'])} of those judged bad refuse.",
        figures={
            "judgements": int(known.sum()),
            **figures("good_refuses_share", sides["good"]),
            **figures("bad_refuses_share", sides["bad"]),
        },
    )
