"""Rows that share a prompt, as one group: each distinct response once, comparisons side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..batch.group import Columns, Floats, Group


def merge(groups: Sequence[Group]) -> Group:
    """Return the groups of one prompt as one.

    Responses with the same tokens, mask and columns are stored once, their weights added, which leaves every weighted
    sum over responses as it was. Edges keep their own columns. The first group's row names the result.
    """
    if len(groups) == 1:
        return groups[0]
    place: dict[tuple[bytes, ...], int] = {}
    first: list[tuple[Group, int]] = []
    weights: list[float] = []
    edges = []
    for group in groups:
        at = []
        for k in range(len(group.responses)):
            key = _key(group, k)
            if key not in place:
                place[key] = len(first)
                first.append((group, k))
                weights.append(0.0)
            weights[place[key]] += float(group.columns.response["weight"][k])
            at.append(place[key])
        edges.append(np.array(at, dtype=np.int32)[group.edges].reshape(-1, 2))
    response: dict[str, Floats] = {
        name: np.array([group.columns.response[name][k] for group, k in first], dtype=np.float32)
        for name in groups[0].columns.response
    }
    response["weight"] = np.array(weights, dtype=np.float32)
    return Group(
        row=groups[0].row,
        prompt=groups[0].prompt,
        responses=tuple(group.responses[k] for group, k in first),
        loss=tuple(group.loss[k] for group, k in first),
        edges=np.concatenate(edges),
        columns=Columns(
            response=response,
            edge={
                name: np.concatenate([group.columns.edge[name] for group in groups]) for name in groups[0].columns.edge
            },
        ),
    )


def _key(group: Group, k: int) -> tuple[bytes, ...]:
    others = (group.columns.response[name][k].tobytes() for name in sorted(group.columns.response) if name != "weight")
    return (group.responses[k].tobytes(), group.loss[k].tobytes(), *others)
