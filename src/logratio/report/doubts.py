"""What speaks against believing a win rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .text import percent

FLIPPING = 0.2
"""Share of order flips from which a judge is said to decide by place."""

FAILING = 0.05
"""Share of pairs without a verdict from which that is said."""

DECIDING = 0.9
"""Mean preference for the longer answer, or the shorter, from which length is said to decide."""


def doubts(pair: Mapping[str, Any]) -> list[str]:
    """Return what speaks against believing two models' win rate, a sentence each."""
    said = []
    judged = pair["wins"] + pair["ties"] + pair["losses"]
    if pair["failed"] > FAILING * (judged + pair["failed"]):
        said.append(
            f"the judge gave no verdict on {pair['failed']:,} of {judged + pair['failed']:,} pairs; where those differ "
            "from the others, the rate is not what it seems."
        )
    flips = pair["flips"]
    if flips["mean"] is not None and flips["mean"] > FLIPPING:
        said.append(
            f"the winner changes with the order in {percent(flips['mean'])} of pairs, which count as ties; "
            "a judge or rubric that place moves less would tell more."
        )
    longer = pair["longer"]["mean"]
    if longer is not None and not 1 - DECIDING <= longer <= DECIDING:
        side, share = ("longer", longer) if longer > 0.5 else ("shorter", 1 - longer)
        said.append(
            f"the {side} answer is preferred in {percent(share)} of pairs; where length decides nearly all, the "
            "rate at equal length is extrapolated, and its interval too narrow."
        )
    plain, level = pair["rate"]["mean"], (pair["controlled"] or {}).get("mean")
    if level is not None and pair["controlled"]["low"] is None:
        said.append(
            "cross-validation left nothing in the regression, so that the rate at equal length is ½ by its penalty; "
            "more prompts would tell."
        )
    elif plain is not None and level is not None and extreme(plain, level):
        said.append(
            f"at equal length the rate is {percent(level)}, not {percent(plain)}: much of it is length, or the "
            "regression fails."
        )
    return said


def extreme(plain: float, level: float) -> bool:
    """Return whether a rate at equal length is so far from the plain one that AlpacaEval 2 warns of it."""
    low = min(plain - plain / 4, plain - 0.1)
    high = max(plain + (1 - plain) / 4, plain + 0.1)
    return level < low or level > high
