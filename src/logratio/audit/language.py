"""Scripts: which ones prompts and responses are written in, and pairs whose two responses differ in it."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from ..cues.chars import Characters
from ..cues.scripts import NAMES
from ..findings import Drawing, Figure, Finding, Level
from ..maths.intervals import Measure, share_interval
from .judged import FEWEST, decided, figures, percent, spread
from .rows import Rows

FAR = 0.70
"""Share that the response in the prompt's own script wins, for certain, above which the script is what is learned."""

OFTEN = 0.02
"""Share of pairs whose responses differ in script, from which somebody should look."""

REACH = 2_000
"""Characters of a text that are looked at."""

_BATCH = 1_024
_SHOWN = 8

Scripts = NDArray[np.int64]


def language(rows: Rows) -> Finding:
    """Say which scripts there are, and whether a pair's winner can be told by its script.

    By Unicode's blocks, the script with most letters: languages that share a script (English, Spanish, Vietnamese; or
    Russian and Bulgarian) are not told apart, and neither is a text in Latin letters of a language usually written
    otherwise.
    """
    script_T = scripts_of(rows)
    edges = decided(rows)
    prompts, responses = _used(rows)
    if not len(responses):
        return Finding("language", "fine", "There are no responses.")
    said = _shares(script_T, responses)
    if not len(edges):
        return Finding("language", "fine", f"Responses are written in {_listed(said)}.", figures=_figures(said))
    asked, won, lost = (script_T[part[edges]] for part in (rows.prompt_E, rows.winner_E, rows.loser_E))
    differ = (won != lost) & (won >= 0) & (lost >= 0)
    prompt = rows.prompt_E[edges]
    apart = share_interval(differ, prompt)
    other = share_interval((won != asked) & (won >= 0) & (asked >= 0), prompt)
    told = differ & ((won == asked) != (lost == asked))
    wins = share_interval((won == asked)[told], prompt[told])
    level = _level(apart, wins)
    shown = np.flatnonzero(differ)[:3]
    return Finding(
        "language",
        level,
        f"Responses are written in {_listed(said)}; {_apart(apart, wins)}, and {percent(other.mean)} of preferred ones "
        "are not in their prompt's script.",
        _REMEDY if level == "look" else "",
        figures={
            "pairs": len(edges),
            **_figures(said),
            **figures("scripts_differ_share", apart),
            **figures("prompts_script_wins_share", wins),
            **figures("chosen_in_other_script_share", other),
        },
        drawing=_drawing(said, _shares(script_T, prompts)),
        examples=[rows.example(int(edges[i]), f"{_name(won[i])} is preferred to {_name(lost[i])}.") for i in shown],
    )


_REMEDY = (
    "If answering in the prompt's language is not what you want to teach, drop pairs whose responses differ in script, "
    "or add pairs that differ in nothing else."
)


def scripts_of(rows: Rows) -> Scripts:
    """Return the number of each text's main script, int64 [T]; −1 without letters."""
    parts = [
        Characters([text[:REACH] for text in rows.texts[low : low + _BATCH]]).main_N
        for low in range(0, len(rows.texts), _BATCH)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _used(rows: Rows) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return distinct prompts and distinct responses."""
    return np.unique(rows.prompt_N), np.unique(rows.text_S)


def _shares(script_T: Scripts, used: NDArray[np.int32]) -> dict[str, float]:
    own = script_T[used]
    counts = Counter({_name(script): int((own == script).sum()) for script in np.unique(own)})
    return {name: count / len(own) for name, count in counts.most_common(_SHOWN)}


def _name(script: int) -> str:
    return NAMES[script] if script >= 0 else "no letters"


def _listed(shares: dict[str, float]) -> str:
    parts = [f"{name} ({percent(share)})" for name, share in list(shares.items())[:4]]
    return ", ".join(parts) + (f" and {len(shares) - 4} more" if len(shares) > 4 else "")


def _apart(apart: Measure, wins: Measure) -> str:
    if not apart.mean:
        return "no pair mixes scripts"
    side = f" (the one in the prompt's script wins {spread(wins)} of them)" if wins.n >= FEWEST // 2 else ""
    return f"the two of a pair differ in script in {percent(apart.mean)} of pairs{side}"


def _figures(shares: dict[str, float]) -> dict[str, Figure]:
    return {f"{name}_share": share for name, share in shares.items()}


def _level(apart: Measure, wins: Measure) -> Level:
    often = (apart.mean or 0.0) >= OFTEN
    if often and wins.n >= FEWEST // 2 and wins.low is not None and wins.high is not None:
        if wins.low > FAR or wins.high < 1 - FAR:
            return "look"
    return "note" if often else "fine"


def _drawing(responses: dict[str, float], prompts: dict[str, float]) -> Drawing:
    names = list(dict.fromkeys([*responses, *prompts]))
    series = {"responses": [responses.get(name, 0.0) for name in names]}
    series["prompts"] = [prompts.get(name, 0.0) for name in names]
    return Drawing("bars", "Scripts", "script", "share of distinct texts", names, series)
