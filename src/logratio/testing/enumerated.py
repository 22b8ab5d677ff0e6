"""The expectation of a gradient over everything that a policy may draw, through an objective's own label and losses."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
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


def expected_gradient(
    objective: Objective, settings: Settings, given: Setting, k: int, *, compared: bool = True
) -> Tensor:
    """Return E[∂loss/∂logits] in the first inner step of a phase of one prompt, [P, V].

    Every group of k responses is labelled by itself and weighed by its probability, so that a label over whole phases
    must not whiten. The order of responses does not matter, so each group is listed once. Where the objective asks for
    a rival, k of its responses follow the policy's.

    Args:
        objective: As registered.
        settings: Its settings.
        given: World, policy and judge.
        k: Responses of the policy a group.
        compared: Whether responses are compared with each other; large groups need not be, where nobody reads it.
    """
    share = objective.rivals(settings)
    own = _draws(given.world.logps(given.policy_PV), k)
    other = _draws(given.rival(share), k) if share else [((), torch.zeros((), dtype=torch.float64))]
    members = [first + second for first, _ in own for second, _ in other]
    log_share_G = torch.stack([first + second for _, first in own for _, second in other])
    parts = _Parts.of(given)
    groups = [parts.group(ys, k, compared) for ys in members]
    labelled = [objective.label([group], settings, objective.state(settings))[0][0] for group in groups]
    leaf_PV = given.policy_PV.clone().requires_grad_()
    logps = _logps(objective, settings, given, leaf_PV, members)
    loss_G = _loss_by_step(objective, settings, pack(labelled), logps, torch.arange(len(groups)))
    (gradient_PV,) = torch.autograd.grad((log_share_G.exp() * loss_G).sum(), leaf_PV)
    return gradient_PV


def sampled_gradient(
    objective: Objective, settings: Settings, given: Setting, k: int, *, groups: int, seed: int
) -> Tensor:
    """Return ∂loss/∂logits in the first inner step of a phase that was drawn, [P, V].

    Args:
        objective: As registered.
        settings: Its settings.
        given: World, policy and judge.
        k: Responses of the policy a group; where the objective asks for a rival, k of its responses follow.
        groups: Of the phase, which is one step.
        seed: Of the draws.
    """
    share, draw = objective.rivals(settings), torch.Generator().manual_seed(seed)
    drawn = [given.world.logps(given.policy_PV), *([given.rival(share)] if share else [])]
    parts = [torch.multinomial(logs.exp(), groups * k, True, generator=draw).view(groups, k) for logs in drawn]
    members: list[list[int]] = torch.cat(parts, 1).tolist()
    columns = _Parts.of(given)
    phase = [columns.group(ys, k, True) for ys in members]
    labelled = objective.label(phase, settings, objective.state(settings))[0]
    leaf_PV = given.policy_PV.clone().requires_grad_()
    logps = _logps(objective, settings, given, leaf_PV, members)
    at_G = torch.zeros(groups, dtype=torch.int64)
    (gradient_PV,) = torch.autograd.grad(_loss_by_step(objective, settings, pack(labelled), logps, at_G).sum(), leaf_PV)
    return gradient_PV


def _draws(logp_Y: Tensor, k: int) -> list[tuple[tuple[int, ...], Tensor]]:
    """Return every multiset of k responses with its log-probability, k!/Π n_y!·Π π(y)^n_y."""
    orders = math.lgamma(k + 1)
    found = []
    for ys in combinations_with_replacement(range(len(logp_Y)), k):
        repeats = sum(math.lgamma(n + 1) for n in Counter(ys).values())
        found.append((ys, logp_Y[list(ys)].sum() + orders - repeats))
    return found


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

    def group(self, members: Sequence[int], k: int, compared: bool) -> Group:
        responses = tuple(np.array(self.given.world.sequences[y], np.int32) for y in members)
        count = len(members)
        edges = np.stack(np.triu_indices(count if compared else 0, 1), 1).astype(np.int32)
        rival = (np.arange(count) >= k).astype(np.float64)
        preference_YY = self.given.preference_YY.numpy()
        edge: dict[str, Any] = {name: np.ones(len(edges)) for name in ("weight", "margin", "tie")}
        first, second = np.asarray(members)[edges].T
        edge["probability"] = preference_YY[first, second]
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


def _loss_by_step(objective: Objective, settings: Settings, batch: PackedBatch, logps: Logps, step_G: Tensor) -> Tensor:
    """Return the loss of each step, Σ_k c_k · Σ w·ℓ_k / Σ w over its items; `step_G` is the step of each group."""
    steps = int(step_G.max()) + 1
    step_S = step_G[batch.spans.group_S]
    of = {
        "response": (step_S, batch.response["weight"]),
        "token": (step_S[batch.response_R], batch.response["weight"][batch.response_R]),
        "edge": (step_S[batch.winner_E], batch.edge["weight"]),
        "group": (step_G, torch.ones(len(step_G), dtype=torch.float64)),
    }

    def total(value: Tensor, at: Tensor) -> Tensor:
        return torch.zeros(steps, dtype=torch.float64).index_add(0, at, value)

    batch = replace(batch, state={n: torch.tensor(v).double() for n, v in objective.state(settings).items()})
    terms = objective.terms(settings)
    parts = []
    for name, loss in objective.losses(logps, batch, settings).items():
        at, weight = of[terms[name].unit]
        mass = total(weight, at)
        parts.append(terms[name].coefficient * total(weight * loss, at) / torch.where(mass > 0, mass, 1.0))
    return torch.stack(parts).sum(0)
