"""Every decided comparison as a group of its own, so that what is asked of a pair does not meet its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..batch.group import Columns, Group, scored_masks
from ..batch.logps import Logps
from ..logps.whole import Axis, join
from .measure import prompt_numbers


@dataclass(frozen=True)
class Apart:
    """E pairs out of groups; ties are left out.

    Attributes:
        pairs: Groups of two responses and one edge, the winner first, whose label is plain.
        preferred: The label's own probability that the winner is preferred, float64 [E].
        prompt: Number of each pair's prompt among the groups', [E].
        places: Where the pairs' floats, end to end, lie among those of all groups: scored tokens and responses.
    """

    pairs: Sequence[Group]
    preferred: NDArray[np.float64]
    prompt: NDArray[np.int64]
    places: dict[Axis, Tensor]

    @classmethod
    def of(cls, groups: Sequence[Group]) -> Apart:
        """Take groups apart."""
        pairs: list[Group] = []
        tokens = [np.zeros(0, np.int64)]
        labels: list[float] = []
        responses: list[int] = []
        prompts: list[int] = []
        first_R = first_S = 0
        for group, prompt in zip(groups, prompt_numbers(groups).tolist(), strict=True):
            ends = np.cumsum([int(mask.sum()) for mask in scored_masks(group)])
            starts = np.concatenate([[0], ends[:-1]])
            tie = group.columns.edge.get("tie", np.zeros(len(group.edges)))
            for edge in np.flatnonzero(tie == 0).tolist():
                sides = [int(side) for side in group.edges[edge]]
                own = np.concatenate([np.arange(starts[k], ends[k]) for k in sides])
                pairs.append(pair(group, edge, sides, own))
                labels.append(float(group.columns.edge["probability"][edge]))
                tokens.append(first_R + own)
                responses += [first_S + k for k in sides]
                prompts.append(prompt)
            first_R += int(ends[-1])
            first_S += len(group.responses)
        places: dict[Axis, Tensor] = {
            "R": torch.from_numpy(np.concatenate(tokens)),
            "S": torch.tensor(responses, dtype=torch.int64),
        }
        return cls(pairs, np.array(labels), np.array(prompts, np.int64), places)

    def logps(self, whole: Logps) -> Logps:
        """Return the pairs' floats, float64, out of those of all groups end to end."""
        return join([whole], lambda values, axis: values[0].index_select(0, self.places[axis]).double())


def pair(group: Group, edge: int, sides: Sequence[int], tokens: NDArray[np.int64]) -> Group:
    """Return one edge of a group as a group with a plain label.

    Args:
        group: The group.
        edge: Which of its edges.
        sides: The edge's two responses.
        tokens: Places of their scored tokens among the group's.
    """
    columns = group.columns
    own = {name: value[edge : edge + 1] for name, value in columns.edge.items()}
    return Group(
        row=group.row,
        prompt=group.prompt,
        responses=tuple(group.responses[k] for k in sides),
        loss=tuple(group.loss[k] for k in sides),
        edges=np.array([[0, 1]], np.int32),
        columns=Columns(
            token={name: value[tokens] for name, value in columns.token.items()},
            response={name: value[list(sides)] for name, value in columns.response.items()},
            edge={**own, "probability": np.ones(1, np.float32)},
            group=columns.group,
        ),
    )
