"""A world's comparisons as one packed batch, so that any objective can be evaluated on a tabular policy.

One group stands for a prompt. A response of L tokens gets log π(y|x)/L on each of them: its sum is log π(y|x) and its
mean log π(y|x)/|y|, which is all that an objective of per-response sums and means reads. Columns are float64 and put
in place as tensors: `Columns` holds float32, enough for weights of rows, not for shares that must add up to 1e-12.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from ..batch.group import Group
from ..batch.logps import Logps
from ..batch.packed import PackedBatch, pack
from ..errors import ConfigError
from .comparisons import Comparisons
from .world import World

LONGEST_RANKING = 6
"""Most responses whose rankings are all listed: 720 of them."""


@dataclass(frozen=True)
class Population:
    """A batch that stands for a whole population, and which table entry each of its responses is.

    Attributes:
        batch: Columns: token `reference`; response `weight` and those of its kind; edge `weight`, `probability`,
            `margin`, `tie`; group `weight`. All float64.
        prompt_S, response_S: Indices (x, y) of each response of the batch, int64.
        length_S: Its tokens, float64.
        single: Whether each response is one token, so that responses are the vocabulary.
    """

    batch: PackedBatch
    prompt_S: Tensor
    response_S: Tensor
    length_S: Tensor
    single: bool

    def logps(self, policy_XY: Tensor) -> Logps:
        """Return the log-probs of the batch's scored tokens under a tabular policy, differentiable in it.

        Where responses are single tokens, entropy and Σπ² of the policy are those of the table's row; elsewhere a
        table does not say how its probabilities are spread over tokens, and they are None.

        Args:
            policy_XY: log π(y|x), float64.
        """
        entropy_R = square_R = None
        if self.single:
            fixed_XY = policy_XY.detach()
            entropy_R = self._spread(-(fixed_XY.exp() * fixed_XY).sum(-1, keepdim=True).expand_as(fixed_XY))
            square_R = self._spread((2 * fixed_XY).exp().sum(-1, keepdim=True).expand_as(fixed_XY))
        return Logps(self._spread(policy_XY), entropy_R, square_R)

    def mean(self, value: Tensor, unit: str) -> Tensor:
        """Return Σ w·ℓ / Σ w of one value per item of a unit: "token", "response", "edge" or "group"."""
        if unit == "token":
            weight = self.batch.response["weight"].index_select(0, self.batch.response_R)
        else:
            weight = getattr(self.batch, unit)["weight"]
        return (weight * value).sum() / weight.sum()

    def _spread(self, value_XY: Tensor) -> Tensor:
        return (value_XY[self.prompt_S, self.response_S] / self.length_S).index_select(0, self.batch.response_R)


def compared(world: World, comparisons: Comparisons, *, score_XY: Tensor | None = None) -> Population:
    """Return pairs: one group a prompt, its Y responses, and one edge a row of the comparisons.

    Response columns: `weight` is the weight with which it wins, so that a mean over responses is Preferred-FT's;
    `score` is as given.

    Args:
        world: Reference and lengths.
        comparisons: Rows; prompts without any stay, with no edge.
        score_XY: Score of each response; None: the true reward.
    """
    prompts, responses = world.shape
    by_prompt = [torch.nonzero(comparisons.prompt_C == x).flatten() for x in range(prompts)]
    edges = [torch.stack((comparisons.winner_C[rows], comparisons.loser_C[rows]), 1) for rows in by_prompt]
    order_C = torch.cat(by_prompt)
    everyone = [list(range(responses))] * prompts
    return _population(
        world,
        list(range(prompts)),
        everyone,
        edges,
        response={
            "weight": comparisons.good(prompts, responses).flatten(),
            "score": (world.reward_XY if score_XY is None else score_XY.double()).flatten(),
        },
        edge={
            "weight": comparisons.weight_C[order_C],
            "probability": comparisons.probability_C[order_C],
            "margin": comparisons.margin_C[order_C],
            "tie": comparisons.tie_C[order_C],
        },
        group={"weight": world.weight_X},
    )


def labelled(world: World, good_XY: Tensor, bad_XY: Tensor, *, mismatched: bool = False) -> Population:
    """Return good and bad labels: each response once as good and once as bad, with the weights of both.

    With `mismatched`, a group also holds every response as borrowed from another prompt: weight 0, and `mismatched` its
    share in the limit of many rows, where the partner's prompt x' ≠ x is drawn as often as it occurs. Objectives
    average over them with that column as the weight, so their baseline is the population's.

    Args:
        world: Reference and lengths.
        good_XY: Weights ≥ 0, such as `Comparisons.good`; normalised here together with `bad_XY`.
        bad_XY: Weights ≥ 0, such as `Comparisons.bad`.
        mismatched: Whether the objective's baseline needs responses of other prompts.

    Raises:
        ConfigError: `mismatched` in a world of one prompt.
    """
    prompts, responses = world.shape
    total = good_XY.sum() + bad_XY.sum()
    good, bad = good_XY.double() / total, bad_XY.double() / total
    zero, one = torch.zeros_like(good), torch.ones_like(good)
    columns = {"weight": [good, bad], "label": [one, zero], "mismatched": [zero, zero]}
    if mismatched:
        columns = {**columns, "weight": [good, bad, zero], "label": [one, zero, zero]}
        columns["mismatched"] = [zero, zero, _borrowed(good + bad)]
    copies = len(columns["weight"])
    return _population(
        world,
        list(range(prompts)),
        [list(range(responses)) * copies] * prompts,
        [torch.zeros(0, 2, dtype=torch.int64)] * prompts,
        response={name: torch.cat(parts, 1).flatten() for name, parts in columns.items()},
        edge={name: torch.zeros(0, dtype=torch.float64) for name in ("weight", "probability", "margin", "tie")},
        group={"weight": world.weight_X},
    )


def ranked(world: World) -> Population:
    """Return rankings: one group for each order of a prompt's responses, weighted by its Plackett–Luce probability.

        P(τ) = Π_k e^{r(τ_k)} / Σ_{j≥k} e^{r(τ_j)}

    Column `score` is Y − 1 for the first of a ranking down to 0; edges go from every response to each one after it,
    with the weight of their ranking. Plackett 1975.

    Raises:
        ConfigError: More than `LONGEST_RANKING` responses.
    """
    prompts, responses = world.shape
    if responses > LONGEST_RANKING:
        raise ConfigError(
            f"{responses} responses have more rankings than can be listed; take at most {LONGEST_RANKING}."
        )
    orders = list(permutations(range(responses))) * prompts
    of_prompt = [x for x in range(prompts) for _ in range(len(orders) // prompts)]
    ordered = world.reward_XY[torch.tensor(of_prompt)[:, None], torch.tensor(orders)]
    log_share = (ordered - ordered.flip(-1).logcumsumexp(-1).flip(-1)).sum(-1)
    weight_G = world.weight_X[torch.tensor(of_prompt)] * log_share.exp()
    edges = torch.combinations(torch.arange(responses))
    weight_E = weight_G.repeat_interleave(len(edges))
    return _population(
        world,
        of_prompt,
        [list(order) for order in orders],
        [edges] * len(orders),
        response={
            "weight": weight_G.repeat_interleave(responses),
            "score": torch.arange(responses - 1, -1, -1, dtype=torch.float64).repeat(len(orders)),
        },
        edge={
            "weight": weight_E,
            "probability": torch.ones_like(weight_E),
            "margin": torch.zeros_like(weight_E),
            "tie": torch.zeros_like(weight_E),
        },
        group={"weight": weight_G},
    )


def duels(world: World, comparisons: Comparisons) -> Population:
    """Return each row of the comparisons as a ranking of two: a group with its winner, score 1, and its loser, 0.

    A tie has score 0 twice.

    Raises:
        ConfigError: A row is a soft label, which no order of two stands for.
    """
    if bool((comparisons.probability_C != 1).any()):
        raise ConfigError("soft labels have no ranking; give the population of plain labels, `comparisons.population`.")
    rows = len(comparisons)
    won_C = 1 - comparisons.tie_C
    pairs = torch.stack((comparisons.winner_C, comparisons.loser_C), 1)
    return _population(
        world,
        comparisons.prompt_C.tolist(),
        pairs.tolist(),
        [torch.tensor([[0, 1]])] * rows,
        response={
            "weight": comparisons.weight_C.repeat_interleave(2),
            "score": torch.stack((won_C, torch.zeros_like(won_C)), 1).flatten(),
        },
        edge={
            "weight": comparisons.weight_C,
            "probability": comparisons.probability_C,
            "margin": comparisons.margin_C,
            "tie": comparisons.tie_C,
        },
        group={"weight": comparisons.weight_C},
    )


def _borrowed(share_XY: Tensor) -> Tensor:
    """Return, for each prompt, the share of each response among partners of other prompts, [X, Y], sum 1 in all."""
    if len(share_XY) < 2:
        raise ConfigError(
            "this world has 1 prompt, so no response comes from another one; a baseline of mismatched responses needs "
            "at least 2 prompts."
        )
    own_X = share_XY.sum(-1, keepdim=True)
    return own_X * (share_XY.sum(0, keepdim=True) - share_XY) / (1 - own_X)


def _population(
    world: World,
    prompts: Sequence[int],
    members: Sequence[Sequence[int]],
    edges: Sequence[Tensor],
    *,
    response: dict[str, Tensor],
    edge: dict[str, Tensor],
    group: dict[str, Tensor],
) -> Population:
    """Pack one group for each listed prompt, holding the listed responses; columns are in the groups' order."""
    lengths = world.length_XY.numpy()
    groups = []
    for row, (x, own, pairs) in enumerate(zip(prompts, members, edges, strict=True)):
        texts = tuple(np.full(lengths[x, y], y, np.int32) for y in own)
        scored = tuple(np.ones(len(text), np.bool_) for text in texts)
        prompt = np.full(1, world.shape[1] + x, np.int32)
        groups.append(Group(row, prompt, texts, scored, pairs.numpy().astype(np.int32)))
    prompt_S = torch.tensor([x for x, own in zip(prompts, members, strict=True) for _ in own])
    response_S = torch.tensor([y for own in members for y in own])
    bare = pack(groups)
    whole = Population(
        batch=replace(bare, response=response, edge=edge, group=group),
        prompt_S=prompt_S,
        response_S=response_S,
        length_S=world.length_XY[prompt_S, response_S].double(),
        single=bool((world.length_XY == 1).all()),
    )
    return replace(whole, batch=whole.batch.with_token(reference=whole.logps(world.reference_XY).policy_R))
