"""Length: how often the longer response wins, by how much, and how well length alone predicts the winner."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..findings import Drawing, Figure, Finding, Level
from ..maths.intervals import Measure, share_interval, t_quantile
from .cued import CHARACTERS, Cued
from .judged import FEWEST, decided, figures, folds, percent, several, spread
from .rows import Rows

FAR = 0.55
"""The longer one wins (or loses) at least so often, for certain: above it somebody should look."""

RATIOS = (1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0)
"""Where the classes of longer / shorter begin; the last has no end."""

_CENTRES = (1.05, 1.17, 1.37, 1.73, 2.45, 3.87, 7.0)

Numbers = NDArray[np.float64]


def length(rows: Rows, table: Cued | None = None) -> Finding:
    """Say who wins when one response is longer.

    Args:
        rows: The data.
        table: Its cues, whose length counts what a reader sees; None counts code points, which is quicker.
    """
    edges, long, short, won = _lengths(rows, table)
    if len(edges) < FEWEST and min(rows.label_L.sum(), (~rows.label_L).sum()) >= FEWEST // 2:
        return _of_labels(rows)
    if len(edges) < FEWEST:
        said = f"{several(len(edges), 'pair has', 'pairs have')} a winner, too few to tell whether length decides."
        return Finding("length", "fine", said)
    prompt = rows.prompt_E[edges]
    wins = share_interval(won, prompt)
    ratio = (long + 1) / (short + 1)
    rule = _by_ratio(ratio, won, prompt)
    gap = np.where(won == 1, long - short, short - long)
    prompts = len(np.unique(prompt)) > 1  # else length alone is right by what it has seen
    level = _level(wins, rule) if prompts else "note"
    return Finding(
        "length",
        level,
        _sentence(wins, rule if prompts else None, gap),
        _REMEDY if level == "look" else "",
        figures={
            "pairs": len(edges),
            **figures("longer_wins_share", wins),
            **(figures("length_alone_accuracy", rule) if prompts else {}),
            "gap_median_characters": float(np.median(gap)),
            "gap_mean_characters": float(gap.mean()),
            "chosen_median_characters": float(np.median(np.where(won == 1, long, short))),
            "rejected_median_characters": float(np.median(np.where(won == 1, short, long))),
            **_classes(ratio, won, prompt),
        },
        drawing=_drawing(ratio, won, prompt),
        examples=[
            rows.example(int(edges[i]), f"The preferred response is {_longer(gap[i])}.") for i in _typical(gap, wins)
        ],
    )


_REMEDY = (
    "Judge with length-controlled win rates; try length_dpo or dpo_norm; or balance the pairs, so "
    "that longer and shorter win equally often."
)


def _lengths(rows: Rows, table: Cued | None) -> tuple[NDArray[np.int64], Numbers, Numbers, Numbers]:
    """Return pairs, lengths of the longer and the shorter, and whether the longer won (½: equally long)."""
    if table is None:
        edges = decided(rows)
        size = np.fromiter(map(len, rows.texts), np.float64, len(rows.texts))
        winner, loser = size[rows.winner_E[edges]], size[rows.loser_E[edges]]
    else:
        edges = table.edge_D
        size = np.rint(np.expm1(table.column(CHARACTERS))) if len(edges) else np.zeros(0)
        winner, loser = size[table.winner_D], size[table.loser_D]
    won = np.where(winner == loser, 0.5, (winner > loser).astype(np.float64))
    return edges, np.maximum(winner, loser), np.minimum(winner, loser), won


def _of_labels(rows: Rows) -> Finding:
    """Single judgements: how often a good response is longer than a bad one, over all such pairs."""
    size = np.array([len(rows.texts[text]) for text in rows.response_L], np.float64)
    good, bad = size[rows.label_L], size[~rows.label_L]
    wins = auc(good, bad)
    level = _level(wins, wins)
    return Finding(
        "length",
        level,
        f"A response judged good is longer than one judged bad in {spread(wins)} of all such pairs; their medians are "
        f"{np.median(good):,.0f} and {np.median(bad):,.0f} characters.",
        _REMEDY if level == "look" else "",
        figures={
            "judgements": len(size),
            **figures("good_longer_share", wins),
            "good_median_characters": float(np.median(good)),
            "bad_median_characters": float(np.median(bad)),
        },
    )


def auc(above: Numbers, below: Numbers) -> Measure:
    """Return P(x > y) + ½ P(x = y) for x of `above` [M] and y of `below` [N], with its interval.

    By placements (DeLong, DeLong and Clarke-Pearson 1988): se² = var(V_x)/M + var(V_y)/N, where V_x is the share of
    `below` that x exceeds and V_y the share of `above` that exceeds y.
    """

    def placed(values: Numbers, others: Numbers) -> Numbers:
        ordered = np.sort(others)
        rank = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
        return rank / (2 * len(others))

    of_above, of_below = placed(above, below), 1 - placed(below, above)
    mean = float(of_above.mean())
    se = math.sqrt(float(of_above.var(ddof=1) / len(above) + of_below.var(ddof=1) / len(below)))
    half = t_quantile(min(len(above), len(below)) - 1) * se
    return Measure(mean, max(0.0, mean - half), min(1.0, mean + half), len(above) + len(below), se)


def _by_ratio(ratio: Numbers, won: Numbers, prompt: NDArray[np.int32]) -> Measure:
    """Return how often length alone is right on prompts not seen: in each class of ratios, whichever won more."""
    fold, group = folds(prompt), _group(ratio)
    right = np.full(len(won), 0.5)
    for held in np.unique(fold):
        seen = fold != held
        side = np.bincount(group[seen], weights=won[seen] - 0.5, minlength=len(RATIOS))
        own = ~seen
        right[own] = 0.5 + np.sign(side[group[own]]) * (won[own] - 0.5)
    return share_interval(right, prompt)


def _group(ratio: Numbers) -> NDArray[np.int64]:
    return np.searchsorted(RATIOS, ratio, side="right") - 1


def _shares(ratio: Numbers, won: Numbers, prompt: NDArray[np.int32]) -> list[Measure]:
    group = _group(ratio)
    return [share_interval(won[group == k], prompt[group == k]) for k in range(len(RATIOS))]


def _classes(ratio: Numbers, won: Numbers, prompt: NDArray[np.int32]) -> dict[str, Figure]:
    shares = _shares(ratio, won, prompt)
    return {
        f"longer_wins_share_from_{low:g}x": one.mean for low, one in zip(RATIOS, shares, strict=True) if one.n >= FEWEST
    }


def _drawing(ratio: Numbers, won: Numbers, prompt: NDArray[np.int32]) -> Drawing:
    shares = _shares(ratio, won, prompt)
    return Drawing(
        "lines",
        "Who wins when one response is longer",
        "longer / shorter, in characters",
        "share of pairs that the longer one wins",
        _CENTRES,
        {
            "longer wins": [one.mean for one in shares],
            "95 % interval, low": [one.low for one in shares],
            "95 % interval, high": [one.high for one in shares],
        },
        "At one half length says nothing; a line that rises rewards length.",
    )


def _level(wins: Measure, rule: Measure) -> Level:
    if wins.low is None or wins.high is None:
        return "note"
    if wins.low > FAR or wins.high < 1 - FAR or (rule.low or 0) > FAR:
        return "look"
    return "fine" if wins.low <= 0.5 <= wins.high else "note"


def _sentence(wins: Measure, rule: Measure | None, gap: Numbers) -> str:
    alone = (
        "all share one prompt, so that nothing can be said of others"
        if rule is None
        else f"length alone is right in {percent(rule.mean)} of pairs whose prompt it has not seen"
    )
    return (
        f"The longer response wins {spread(wins)} of {wins.n:,} pairs, and the preferred one is "
        f"{_longer(float(np.median(gap)))} in the median; {alone}."
    )


def _longer(gap: float) -> str:
    return f"{abs(gap):,.0f} characters {'longer' if gap >= 0 else 'shorter'}"


def _typical(gap: Numbers, wins: Measure) -> list[int]:
    """Return three pairs that show the tendency clearly: the 90th, 80th and 70th percentile of the gap."""
    order = np.argsort(gap, kind="stable")
    if wins.mean is not None and wins.mean < 0.5:
        order = order[::-1]
    return [int(order[int(share * (len(order) - 1))]) for share in (0.9, 0.8, 0.7)]
