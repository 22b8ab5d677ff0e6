"""Which pairs are asked: distributions μ(y, y'|x) [X, Y, Y], zero on the diagonal, sum 1 for each prompt."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ..errors import ConfigError
from ..maths.counter import stream


def normalised(weight_XYY: Tensor) -> Tensor:
    """Return the pair distribution of weights ≥ 0 [X, Y, Y]; the diagonal is dropped, each prompt sums to 1.

    Raises:
        ConfigError: A weight is negative, or a prompt has no pair.
    """
    weight = weight_XYY.double() * (1 - torch.eye(weight_XYY.shape[-1], dtype=torch.float64))
    total = weight.sum((-1, -2), keepdim=True)
    if not bool((weight >= 0).all() and (total > 0).all()):
        raise ConfigError("pair weights must be ≥ 0, and each prompt needs at least one pair of two responses.")
    return weight / total


def uniform(prompts: int, responses: int) -> Tensor:
    """Return the distribution that asks every pair equally often, [X, Y, Y]."""
    return normalised(torch.ones(prompts, responses, responses))


def product(policy_XY: Tensor) -> Tensor:
    """Return two independent draws from a policy (log-probs), given that they differ, [X, Y, Y]."""
    mass = policy_XY.exp()
    return normalised(mass[:, :, None] * mass[:, None, :])


def uneven(seed: int, prompts: int, responses: int) -> Tensor:
    """Return exponential random weights, a function of the seed: some pairs are asked a hundred times as often."""
    draw = stream(seed, "uneven pairs", prompts, responses)
    return normalised(torch.from_numpy(draw.exponential(size=(prompts, responses, responses)) ** 2))


def only(prompts: int, responses: int, edges: Iterable[tuple[int, int]]) -> Tensor:
    """Return the distribution uniform over the given pairs (in either order), the same for every prompt."""
    weight = torch.zeros(prompts, responses, responses)
    for first, second in edges:
        weight[:, first, second] = weight[:, second, first] = 1
    return normalised(weight)


def without(pairs_XYY: Tensor, responses: Iterable[int]) -> Tensor:
    """Return the distribution in which these responses are never compared, at any prompt."""
    weight = pairs_XYY.clone()
    for response in responses:
        weight[:, response, :] = weight[:, :, response] = 0
    return normalised(weight)


def components(pairs_XYY: Tensor) -> Tensor:
    """Return the component of each response in the graph of asked pairs, int64 [X, Y], numbered by its first member.

    Only log-ratios inside a component are identified by comparisons; a response never compared is one by itself.
    """
    responses = pairs_XYY.shape[-1]
    joined = (pairs_XYY + pairs_XYY.transpose(-1, -2) > 0) | torch.eye(responses, dtype=torch.bool)
    for _ in range(responses.bit_length()):
        joined = joined.double() @ joined.double() > 0
    return joined.int().argmax(-1)


def never_compared(pairs_XYY: Tensor) -> Tensor:
    """Return which responses are in no pair, bool [X, Y]."""
    return (pairs_XYY + pairs_XYY.transpose(-1, -2)).sum(-1) == 0
