"""Texts mixed into the steps of a run on fresh responses: `texts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..batch.group import Columns, Floats, Group


def beside(drawn: Sequence[Group], texts: Sequence[Group]) -> list[Group]:
    """Return the groups of a step followed by texts, which carry the same columns, of 0, and their weight in `text`.

    A step of which no response was judged has no texts either: it moves no weight.
    """
    if not drawn:
        return []
    marked = [group.with_columns(response={"text": np.zeros(len(group.responses), np.float32)}) for group in drawn]
    return [*marked, *(_text(group, drawn[0].columns) for group in texts)]


def _text(group: Group, like: Columns) -> Group:
    responses = len(group.responses)
    return replace(
        group,
        edges=np.zeros((0, 2), np.int32),
        columns=Columns(
            token=_zeros(like.token, group.scored),
            response={**_zeros(like.response, responses), "text": group.columns.response["weight"]},
            edge=_zeros(like.edge, 0),
            group=_zeros(like.group, 1),
        ),
    )


def _zeros(columns: Mapping[str, Floats], count: int) -> dict[str, Floats]:
    return {name: np.zeros(count, values.dtype) for name, values in columns.items()}
