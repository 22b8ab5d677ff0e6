"""How far people who judged the same pairs agree, beyond what chance gives."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..maths.intervals import Measure, t_quantile
from .judged import Indices
from .rows import Rows

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Judgements:
    """What is known of pairs that were judged at least twice.

    Suffixes: J judgements, I pairs, 3 verdicts (one wins, the other wins, tie).

    Attributes:
        item_J: The pair.
        verdict_J: 0, 1 or 2.
        who_J: Annotator, −1 unknown.
        edge_J: Index into the rows' E.
        count_I3: Judgements of each verdict.
        prompt_I: Text of the prompt.
        pairs: Different pairs, those judged once included.
    """

    item_J: Indices
    verdict_J: Indices
    who_J: Indices
    edge_J: Indices
    count_I3: Numbers
    prompt_I: NDArray[np.int32]
    pairs: int

    @property
    def named(self) -> bool:
        """Whether all judges are named."""
        return bool((self.who_J >= 0).all())


def judgements(rows: Rows) -> Judgements:
    """Return the judgements of pairs of different responses that were judged at least twice.

    A person's second judgement of a pair is left out: nobody agrees with himself, and a copy of a row is no judgement.
    """
    edges = np.flatnonzero(rows.winner_E != rows.loser_E)
    winner, loser = rows.winner_E[edges], rows.loser_E[edges]
    parts = [rows.prompt_E[edges], rows.criterion_E[edges], np.minimum(winner, loser), np.maximum(winner, loser)]
    item = np.unique(np.stack(parts, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    kept = once(item, rows.annotator_E[edges])
    edges, item = edges[kept], item[kept]
    pairs = int(item.max(initial=-1)) + 1
    often = np.flatnonzero(np.bincount(item)[item] >= 2) if len(item) else item
    edges = edges[often]
    item = np.unique(item[often], return_inverse=True)[1]
    verdict = np.where(rows.tie_E[edges], 2, _second_wins(rows, edges))
    count = int(item.max(initial=-1)) + 1
    prompt = np.zeros(count, np.int32)
    prompt[item] = rows.prompt_E[edges]
    table = np.bincount(item * 3 + verdict, minlength=3 * count).reshape(count, 3).astype(np.float64)
    return Judgements(item, verdict, rows.annotator_E[edges].astype(np.int64), edges, table, prompt, pairs)


def once(item: Indices, who: NDArray[np.int32]) -> Indices:
    """Return the judgements without those by which a named person judges a pair again, in order."""
    named = np.flatnonzero(who >= 0)
    first = np.unique(np.stack([item[named], who[named]], axis=1), axis=0, return_index=True)[1]
    return np.sort(np.concatenate([named[first], np.flatnonzero(who < 0)]))


def _second_wins(rows: Rows, edges: Indices) -> NDArray[np.int64]:
    """Return 1 where the winner's text has the greater checksum, else 0.

    Which of two responses is "one" must not depend on who won: the texts' numbers would, since a winner is read first.
    """
    used = np.unique(np.concatenate([rows.winner_E[edges], rows.loser_E[edges]]))
    sums = np.array([zlib.crc32(rows.texts[text].encode("utf-8", "surrogatepass")) for text in used], np.int64)
    winner, loser = (np.searchsorted(used, part[edges]) for part in (rows.winner_E, rows.loser_E))
    greater = (sums[winner] > sums[loser]) | ((sums[winner] == sums[loser]) & (winner > loser))
    second: NDArray[np.int64] = greater.astype(np.int64)
    return second


def agreement(count_I3: Numbers) -> Numbers:
    """Return, for each pair, the share of two of its judgements that agree."""
    n = count_I3.sum(1)
    share: Numbers = (count_I3 * (count_I3 - 1)).sum(1) / (n * (n - 1))
    return share


def krippendorff(count_I3: Numbers, clusters_I: NDArray[np.int32]) -> Measure:
    """Return Krippendorff's α for nominal verdicts, with an interval from leaving out one prompt at a time.

        α = 1 − D_o / D_e,   D_o = 1/N · Σ_i Σ_{c≠k} n_ic n_ik / (n_i − 1),   D_e = Σ_{c≠k} n_c n_k / (N(N − 1))

    Krippendorff 2011, "Computing Krippendorff's alpha-reliability". 1 is full agreement, 0 what chance gives; with two
    judges and many pairs it equals Scott's π. Which response is "one" and which "other" is arbitrary but fixed.

    Args:
        count_I3: Judgements of each verdict, at least 2 a pair.
        clusters_I: Labels; pairs with one label (a prompt) are left out together. With fewer than ten, each pair is.
    """
    count, cluster = len(np.unique(clusters_I)), np.unique(clusters_I, return_inverse=True)[1]
    if count < 10:
        count, cluster = len(count_I3), np.arange(len(count_I3))
    n = count_I3.sum(1)
    observed = (n**2 - (count_I3**2).sum(1)) / (n - 1)
    parts = np.column_stack([observed, count_I3])
    sums = np.stack([np.bincount(cluster, weights=part, minlength=count) for part in parts.T], axis=1)
    whole = float(_alpha(sums.sum(0)[None])[0])
    if count < 2:
        return Measure(whole, None, None, len(n))
    without = _alpha(sums.sum(0)[None] - sums)
    se = math.sqrt((count - 1) / count * float(((without - without.mean()) ** 2).sum()))
    half = t_quantile(count - 1) * se
    return Measure(whole, whole - half, min(1.0, whole + half), len(n), se)


def _alpha(sums: Numbers) -> Numbers:
    """Return α from (Σ observed disagreement, judgements of each verdict), one a row; 1 where all are the same."""
    counts = sums[:, 1:]
    total = counts.sum(1)
    expected = (total**2 - (counts**2).sum(1)) / np.maximum(total - 1, 1)
    return 1 - sums[:, 0] / np.where(expected > 0, expected, 1.0)
