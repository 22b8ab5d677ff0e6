"""The cues of a data set's responses, computed once for all that reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..cues import table
from ..maths.counter import permutation
from .judged import Indices, decided
from .rows import Rows

MOST = 200_000
"""Judged pairs whose cues are taken; of more, whole prompts are drawn until there are so many."""

CHARACTERS = "length in characters (log)"


@dataclass(frozen=True)
class Cued:
    """Cues of responses.

    Suffixes: U different (prompt, response), C cues, D judged pairs with a winner, L single judgements.

    Attributes:
        names: Of the cues.
        value_UC: Their values.
        edge_D: Index into the rows' E.
        winner_D, loser_D: Index into U.
        prompt_D: Text of the prompt.
        response_L: Index into U.
    """

    names: tuple[str, ...]
    value_UC: NDArray[np.float64]
    edge_D: Indices
    winner_D: Indices
    loser_D: Indices
    prompt_D: NDArray[np.int32]
    response_L: Indices

    def differences(self) -> NDArray[np.float64]:
        """Return the winner's cues minus the loser's, float64 [D, C]."""
        return self.value_UC[self.winner_D] - self.value_UC[self.loser_D]

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one cue, [U]."""
        return self.value_UC[:, self.names.index(name)]


def cued(rows: Rows) -> Cued:
    """Return the cues of the responses of a data set."""
    edge_D = some(rows, decided(rows))
    prompt = np.concatenate([rows.prompt_E[edge_D], rows.prompt_E[edge_D], rows.prompt_L]).astype(np.int64)
    response = np.concatenate([rows.winner_E[edge_D], rows.loser_E[edge_D], rows.response_L]).astype(np.int64)
    keys, place = np.unique(prompt * len(rows.texts) + response, return_inverse=True)
    prompts, responses = np.divmod(keys, max(1, len(rows.texts)))
    names, values = table([rows.texts[i] for i in responses], [rows.texts[i] for i in prompts])
    count = len(edge_D)
    return Cued(
        names=names,
        value_UC=values,
        edge_D=edge_D,
        winner_D=place[:count],
        loser_D=place[count : 2 * count],
        prompt_D=rows.prompt_E[edge_D],
        response_L=place[2 * count :],
    )


def some(rows: Rows, edges: Indices, most: int = MOST) -> Indices:
    """Return judged pairs, at most `most`: those of prompts drawn one after the other, in order of the data."""
    if len(edges) <= most:
        return edges
    names, number = np.unique(rows.prompt_E[edges], return_inverse=True)
    rank = np.argsort(permutation(len(names), 0, 0))[number]
    return np.sort(edges[np.argsort(rank, kind="stable")[:most]])
