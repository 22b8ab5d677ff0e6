"""The expectation of a gradient over everything that a policy may draw, through an objective's own label and losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..batch.group import Group
from ..batch.logps import Logps
from ..batch.packed import PackedBatch, pack
from ..exact.tree import Tree
from ..objectives.base import Objective, Settings


@dataclass(frozen=True)
class Setting:
    """What a phase is drawn from and judged by. All float64.

    Attributes:
        world: Every response.
        policy_PV: Logits of the policy.
        reference_PV: Logits of the reference.
        score_Y: The judge's score of each response.
        preference_YY: P(y ≻ y').
        value_P: A critic's value of each state.
    """

    world: Tree
    policy_PV: Tensor
    reference_PV: Tensor
    score_Y: Tensor
    preference_YY: Tensor
    value_P: Tensor

    def rival(self, share: float) -> Tensor:
        """Return log-probs of the responses of π^{1−λ}·π_ref^λ, mixed token by token, [Y]."""
        own, other = self.policy_PV.log_softmax(-1), self.reference_PV.log_softmax(-1)
        return self.world.logps((1 - share) * own + share * other)


def random_setting(world: Tree, *, seed: int = 0) -> Setting:
    """Return a setting with normal logits, scores and values, and preferences that fit no score."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=draw, dtype=torch.float64)

    count = len(world.sequences)
    edge_YY = normal(count, count)
    return Setting(
        world,
        normal(world.states, world.vocabulary),
        normal(world.states, world.vocabulary),
        normal(count),
        torch.sigmoid(edge_YY - edge_YY.T),
        normal(world.states),
    )


def expected_gradient(objective: Objective, settings: Settings, given: Setting, k: int) -> Tensor:
    """Return E[∂loss/∂logits] in the first inner step of a phase of one prompt, [P, V].

    Every group of k responses is labelled by itself and weighed by its probability, so that a label over whole phases
    must not whiten. Where the objective asks for a rival, k of its responses follow the policy's.

    Args:
        objective: As registered.
        settings: Its settings.
        given: World, policy and judge.
        k: Responses of the policy a group.
    """
    groups, share_G, member_GS = _every_group(objective, settings, given, k)
    labelled = [objective.label([group], settings, objective.state(settings))[0][0] for group in groups]
    leaf_PV = given.policy_PV.clone().requires_grad_()
    batch = pack(labelled)
    loss_G = _loss_by_group(objective, settings, batch, _logps(objective, settings, given, leaf_PV, member_GS))
    (gradient_PV,) = torch.autograd.grad((share_G * loss_G).sum(), leaf_PV)
    return gradient_PV


def _every_group(
    objective: Objective, settings: Settings, given: Setting, k: int
) -> tuple[list[Group], Tensor, list[tuple[int, ...]]]:
    """Return all groups with what a phase attaches, the probability of each, and which responses it holds."""
    share = objective.rivals(settings)
    own_Y, rival_Y = given.world.logps(given.policy_PV), given.rival(share)
    drawn = [own_Y] * k + [rival_Y] * (k if share else 0)
    members = list(product(range(len(own_Y)), repeat=len(drawn)))
    log_share_G = torch.stack(
        [torch.stack([logs[y] for logs, y in zip(drawn, ys, strict=True)]).sum() for ys in members]
    )
    parts = _Parts.of(given)
    return [parts.group(ys, k) for ys in members], log_share_G.exp(), members


@dataclass(frozen=True)
class _Parts:
    """Columns of each response by itself, float64 arrays."""

    given: Setting
    token: dict[str, list[Any]]

    @classmethod
    def of(cls, given: Setting) -> _Parts:
        world = given.world
        values = {
            "sampled": world.token_logps(given.policy_PV),
            "reference": world.token_logps(given.reference_PV),
            "value_old": given.value_P[world.state_R],
        }
        lengths = [len(tokens) for tokens in world.sequences]
        return cls(given, {name: list(map(np.asarray, value.split(lengths))) for name, value in values.items()})

    def group(self, members: Sequence[int], k: int) -> Group:
        responses = tuple(np.array(self.given.world.sequences[y], np.int32) for y in members)
        count = len(members)
        edges = np.array([(i, j) for i in range(count) for j in range(i + 1, count)], np.int32).reshape(-1, 2)
        rival = (np.arange(count) >= k).astype(np.float64)
        preference_YY = self.given.preference_YY.numpy()
        edge: dict[str, Any] = {name: np.ones(len(edges)) for name in ("weight", "margin", "tie")}
        edge["probability"] = np.array([preference_YY[members[i], members[j]] for i, j in edges])
        response: dict[str, Any] = {"weight": 1 - rival, "rival": rival, "ended": np.ones(count)}
        response["score"] = self.given.score_Y.numpy()[list(members)]
        bare = Group(0, np.ones(1, np.int32), responses, tuple(np.ones(len(r), np.bool_) for r in responses), edges)
        return bare.with_columns(
            token={name: np.concatenate([parts[y] for y in members]) for name, parts in self.token.items()},
            response=response,
            edge=edge,
        )


def _logps(
    objective: Objective, settings: Settings, given: Setting, leaf_PV: Tensor, members: Sequence[Sequence[int]]
) -> Logps:
    """Return the floats of all groups' tokens, differentiable in the policy's logits."""
    world = given.world
    lengths = [len(tokens) for tokens in world.sequences]
    parts = torch.arange(len(world.state_R)).split(lengths)
    place_R = torch.cat([parts[y] for ys in members for y in ys])
    needs = objective.needs(settings)
    return Logps(
        world.token_logps(leaf_PV).index_select(0, place_R),
        value_R=given.value_P[world.state_R].index_select(0, place_R) if needs.value else None,
    )


def _loss_by_group(objective: Objective, settings: Settings, batch: PackedBatch, logps: Logps) -> Tensor:
    """Return the loss of each group as if it were a step of its own, Σ_k c_k · Σ w·ℓ_k / Σ w, [G]."""
    groups = len(batch.row_G)
    group_S = batch.spans.group_S
    of = {
        "response": (group_S, batch.response["weight"]),
        "token": (group_S[batch.response_R], batch.response["weight"][batch.response_R]),
        "edge": (group_S[batch.winner_E], batch.edge["weight"]),
        "group": (torch.arange(groups), torch.ones(groups, dtype=torch.float64)),
    }

    def total(value: Tensor, at: Tensor) -> Tensor:
        return torch.zeros(groups, dtype=torch.float64).index_add(0, at, value)

    batch = replace(batch, state={n: torch.tensor(v).double() for n, v in objective.state(settings).items()})
    terms = objective.terms(settings)
    parts = []
    for name, loss in objective.losses(logps, batch, settings).items():
        at, weight = of[terms[name].unit]
        mass_G = total(weight, at)
        parts.append(terms[name].coefficient * total(weight * loss, at) / torch.where(mass_G > 0, mass_G, 1.0))
    return torch.stack(parts).sum(0)
