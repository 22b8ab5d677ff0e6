"""Random groups of every kind of data, for tests of objectives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..batch.group import Group
from ..maths.counter import stream

VOCABULARY = 40

KINDS: dict[str, dict[str, Any]] = {
    "demonstrations": {"k": 1},
    "pairs": {"k": 2},
    "labels": {"k": 1, "labels": True, "mismatched": True},
    "rankings": {"k": 4, "scores": True},
    "prompts": {"k": 4, "scores": True, "phase": True},
}
"""What the groups of each kind of data hold, as arguments of `random_groups`."""


def random_groups(
    n: int,
    *,
    k: int = 2,
    seed: int = 0,
    labels: bool = False,
    mismatched: bool = False,
    scores: bool = False,
    weights: bool = False,
    phase: bool = False,
) -> list[Group]:
    """Return groups with uneven prompts and responses, a reference column, and a few unscored tokens.

    Args:
        n: Number of groups.
        k: Responses of each.
        seed: Of everything drawn.
        labels: Whether responses are labelled good or bad.
        mismatched: Whether each group carries one more response, borrowed from elsewhere.
        scores: Whether responses carry distinct scores, whose order the edges follow.
        weights: Whether weights differ from 1.
        phase: Whether they are as drawn by a policy and judged: log-probs of the sampler and of the policy before the
            first of some inner steps, a critic's values, whether each response ended, and how probably each edge's
            winner is preferred.
    """
    draw = stream(seed, "random groups")
    groups = [
        _group(draw, row, k=k, labels=labels, mismatched=mismatched, scores=scores, weights=weights) for row in range(n)
    ]
    return [_sampled(draw, group) for group in groups] if phase else groups


def with_rivals(groups: Sequence[Group]) -> list[Group]:
    """Return the groups with the later half of each one's responses marked as a rival's, of weight 0."""
    marked = []
    for group in groups:
        rival = (np.arange(len(group.responses)) >= len(group.responses) / 2).astype(np.float32)
        marked.append(group.with_columns(response={"rival": rival, "weight": 1 - rival}))
    return marked


def _sampled(draw: np.random.Generator, group: Group) -> Group:
    """Return a group with what a phase of a run attaches to it."""
    old = group.columns.token["reference"] + draw.normal(0, 0.3, group.scored).astype(np.float32)
    return group.with_columns(
        token={
            "old": old,
            "sampled": old + draw.normal(0, 1e-3, group.scored).astype(np.float32),
            "value_old": draw.normal(0, 1, group.scored).astype(np.float32),
        },
        response={"ended": (draw.random(len(group.responses)) < 0.8).astype(np.float32)},
        edge={"probability": draw.uniform(0.1, 0.9, len(group.edges)).astype(np.float32)},
    )


def _group(
    draw: np.random.Generator, row: int, *, k: int, labels: bool, mismatched: bool, scores: bool, weights: bool
) -> Group:
    count = k + mismatched
    prompt = draw.integers(0, VOCABULARY, draw.integers(1, 9)).astype(np.int32)
    responses = tuple(draw.integers(0, VOCABULARY, draw.integers(2, 12)).astype(np.int32) for _ in range(count))
    loss = tuple(draw.random(len(response)) < 0.9 for response in responses)
    for mask in loss:
        mask[-1] = True
    edges = np.array([(i, j) for i in range(k) for j in range(i + 1, k)], np.int32).reshape(-1, 2)
    weight = draw.uniform(0.5, 2, count).astype(np.float32) if weights else np.ones(count, np.float32)
    response = {"weight": weight}
    if labels:
        response["label"] = draw.integers(0, 2, count).astype(np.float32)
    if scores:  # falling, so that every edge's first response is its winner
        response["score"] = np.sort(draw.normal(size=count))[::-1].astype(np.float32)
    if mismatched:
        response["mismatched"] = np.array([0] * k + [1], np.float32)
        weight[-1] = 0
    edge_weight = draw.uniform(0.5, 2, len(edges)) if weights else np.ones(len(edges))
    edge = {
        "weight": edge_weight.astype(np.float32),
        "probability": np.ones(len(edges), np.float32),
        "margin": np.linspace(0.2, 1.4, len(edges), dtype=np.float32) + np.float32(row % 3),
    }
    group = Group(row, prompt, responses, loss, edges)
    reference = draw.normal(-3, 1, group.scored).astype(np.float32)
    if mismatched:
        reference[-int(loss[-1].sum()) :] -= 5  # so that the baseline is above 0, where it is not clamped
    return group.with_columns(response=response, edge=edge, token={"reference": reference})


def with_edges(groups: Sequence[Group], **columns: float) -> list[Group]:
    """Return the groups with edge columns set to one value each."""
    return [
        group.with_columns(edge={name: np.full(len(group.edges), value, np.float32) for name, value in columns.items()})
        for group in groups
    ]
