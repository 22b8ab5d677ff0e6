"""What a record holds whatever its kind: a prompt, responses, comparisons between them, and columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from ..batch.group import Floats, Ints
from ..records import Carried, Labelled, Origin, Pair, Prompt, Ranked, Record, Text
from .adapt import Kind
from .problems import NO_WINNER, Unusable
from .spans import THOUGHTS, Chat
from .template import Tools
from .transcript import transcript_messages

Rendering = Literal["messages", "transcript", "one user and one assistant turn", "plain text"]


_TIES = {None: 0.0, "tie": 1.0, "both_bad": 2.0}


@dataclass(frozen=True, slots=True)
class Shape:
    """A record without its kind.

    Attributes:
        prompt: What comes before every response.
        responses: K texts or message lists.
        edges: (winner, loser) indices into `responses`.
        columns: Response columns beside `weight`, [K] each.
        tools: Tools that the template is told of.
        carried: Weight, margin and probability of the row.
        origin: Where it came from.
        tie: Whether its one edge is a tie: 0 none, 1 tie, 2 both bad.
        scores: Score of each response whose difference is the margin of an edge; empty where there are none.
    """

    prompt: Text
    responses: tuple[Text, ...]
    edges: tuple[tuple[int, int], ...]
    columns: Mapping[str, tuple[float, ...]]
    tools: Tools
    carried: Carried
    origin: Origin
    tie: float = 0.0
    scores: tuple[float, ...] = ()

    def edge_array(self, kept: tuple[tuple[int, int], ...]) -> Ints:
        """Return [C, 2] int32."""
        return _edges(kept)

    def response_columns(self) -> dict[str, Floats]:
        """Return [K] columns: `weight`, and those of the record's kind."""
        columns = {"weight": (self.carried.weight,) * len(self.responses), **self.columns}
        return {name: _column(values) for name, values in columns.items()}

    def edge_columns(self, kept: tuple[tuple[int, int], ...]) -> dict[str, Floats]:
        """Return [C] columns: `weight`, `margin`, `probability` that the winner is preferred (or 1), and `tie`.

        The margin is the row's own, else the difference of the two scores, else 0, for unknown.
        """
        carried, margins = self.carried, (self.carried.margin or 0.0,) * len(kept)
        if carried.margin is None and self.scores:
            margins = tuple(self.scores[winner] - self.scores[loser] for winner, loser in kept)
        probability = 1.0 if carried.probability is None else carried.probability
        return dict(_edge_columns(carried.weight, margins, probability, self.tie))


# Most rows have the same few columns: making one array for all of them saves a tenth of the work on a row.


@lru_cache(maxsize=1024)
def _column(values: tuple[float, ...]) -> Floats:
    column = np.array(values, dtype=np.float32)
    column.flags.writeable = False
    return column


@lru_cache(maxsize=1024)
def _edge_columns(weight: float, margins: tuple[float, ...], probability: float, tie: float) -> dict[str, Floats]:
    count = len(margins)
    return {
        "weight": _column((weight,) * count),
        "margin": _column(margins),
        "probability": _column((probability,) * count),
        "tie": _column((tie,) * count),
    }


@lru_cache(maxsize=1024)
def _edges(pairs: tuple[tuple[int, int], ...]) -> Ints:
    edges = np.array(pairs, dtype=np.int32).reshape(-1, 2)
    edges.flags.writeable = False
    return edges


def shape(record: Record, kind: Kind) -> Shape:
    """Return what a record holds that data of this kind has; every record of a kind has the same columns.

    Raises:
        Unusable: It is a comparison without a preference.
    """
    responses: tuple[Text, ...]
    edges: tuple[tuple[int, int], ...] = ()
    columns: dict[str, tuple[float, ...]] = {}
    tie, gaps = 0.0, tuple[float, ...]()
    if isinstance(record, Pair):
        responses = (record.chosen, record.rejected)
        edges, tie = ((0, 1),), _TIES[record.tie]
    elif isinstance(record, Ranked):
        responses, scores = record.responses, record.scores
        every = range(len(scores))
        edges = tuple((i, j) for i in every for j in every if scores[i] > scores[j])
        columns = {"score": scores} if kind == "rankings" else {}
        gaps = scores if kind == "pairs" else ()
    elif isinstance(record, Labelled):
        responses = (record.response,)
        columns = {"label": (float(record.label),)}
    elif isinstance(record, Prompt):
        responses = ()
    else:
        responses = (record.response,)
    if len(responses) > 1 and not edges:
        raise Unusable(NO_WINNER)
    return Shape(
        record.prompt, responses, edges, columns, record.tools, record.carried, record.origin, tie=tie, scores=gaps
    )


def as_chat(prompt: Text, responses: tuple[Text, ...]) -> tuple[Rendering, Chat, tuple[Chat, ...]]:
    """Return a row as messages, and how it became them.

    Transcripts become their turns; another string is one user turn, and a response string one assistant turn. Text
    without a prompt stays as it is: there is nobody whom it answers.
    """
    how: Rendering = "messages"
    if isinstance(prompt, str) and all(isinstance(response, str) for response in responses):
        parsed = [transcript_messages(prompt, str(response)) for response in responses or ("",)]
        dialogues = [turns for turns in parsed if turns is not None]
        if len(dialogues) == len(parsed):
            return "transcript", dialogues[0][0], tuple(turns for _, turns in dialogues[: len(responses)])
        how = "one user and one assistant turn" if prompt.strip() else "plain text"
    chat = (({"role": "user", "content": prompt},) if prompt.strip() else ()) if isinstance(prompt, str) else prompt
    return how, chat, tuple(_turns(response) for response in responses)


def _turns(response: Text) -> Chat:
    return ({"role": "assistant", "content": response},) if isinstance(response, str) else response


def holds_thought(record: Record) -> bool:
    """Return whether a response of the record holds a think block, in its text or beside it."""
    if isinstance(record, Prompt):
        return False
    if isinstance(record, Pair):
        responses: tuple[Text, ...] = (record.chosen, record.rejected)
    else:
        responses = record.responses if isinstance(record, Ranked) else (record.response,)
    turns = [turn for response in responses for turn in _turns(response)]
    return any("<think>" in (turn.get("content") or "") or any(map(turn.get, THOUGHTS)) for turn in turns)
