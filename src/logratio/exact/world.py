"""A finite world: prompts with weights, responses with lengths, a reference policy and a true reward."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import ConfigError
from ..maths.counter import stream


@dataclass(frozen=True)
class World:
    """X prompts, each with Y responses that can be listed.

    Attributes:
        weight_X: Share of each prompt, > 0, sums to 1, float64.
        reference_XY: log π_ref(y|x), finite, float64; each row sums to 1 as probabilities.
        reward_XY: True reward r(x, y), finite, float64.
        length_XY: Tokens of each response, ≥ 1, int64.
    """

    weight_X: Tensor
    reference_XY: Tensor
    reward_XY: Tensor
    length_XY: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(X, Y)."""
        prompts, responses = self.reward_XY.shape
        return prompts, responses

    def average(self, value_X: Tensor) -> Tensor:
        """Return the mean of one value a prompt over prompts, scalar."""
        return (self.weight_X * value_X).sum()

    def with_reference(self, reference_XY: Tensor) -> World:
        """Return the same world with another reference, given as logits or log-probs [X, Y]."""
        return replace(self, reference_XY=policy(_table("reference", reference_XY, self.reward_XY)))

    def with_reward(self, reward_XY: Tensor) -> World:
        """Return the same world with another true reward [X, Y]."""
        return replace(self, reward_XY=_table("reward", reward_XY, self.reward_XY))


def policy(logits_XY: Tensor) -> Tensor:
    """Return the tabular softmax policy log π(y|x) = ℓ(x, y) − log Σ_y' e^ℓ(x, y'), [X, Y]."""
    return torch.log_softmax(logits_XY, dim=-1)


def build(
    reward_XY: Tensor,
    *,
    reference_XY: Tensor | None = None,
    weight_X: Tensor | None = None,
    length_XY: Tensor | None = None,
) -> World:
    """Return the world of a true reward.

    Args:
        reward_XY: [X, Y], Y ≥ 2, finite.
        reference_XY: Logits or log-probs of the reference, [X, Y], finite; None: uniform.
        weight_X: [X], > 0, normalised here; None: equal.
        length_XY: [X, Y] or [Y], whole numbers ≥ 1; None: one token each.

    Raises:
        ConfigError: A table has another shape, or a number out of its range.
    """
    reward_XY = _table("reward", reward_XY, reward_XY)
    if reward_XY.ndim != 2 or reward_XY.shape[1] < 2:
        raise ConfigError(
            f"reward has shape {list(reward_XY.shape)}; a world needs [prompts, responses] with at least 2 responses."
        )
    prompts = len(reward_XY)
    weight_X = torch.ones(prompts) if weight_X is None else weight_X
    weight_X = _table("weight", weight_X, reward_XY[:, 0])
    if not bool((weight_X > 0).all()):
        raise ConfigError(f"prompt weights {weight_X.tolist()} must all be > 0; leave out a prompt that never occurs.")
    length_XY = torch.ones(reward_XY.shape) if length_XY is None else length_XY
    length_XY = _table("length", length_XY.expand(reward_XY.shape), reward_XY)
    if not bool(((length_XY >= 1) & (length_XY == length_XY.round())).all()):
        raise ConfigError(f"lengths {length_XY.tolist()} must be whole numbers ≥ 1: a response has at least one token.")
    reference_XY = torch.zeros_like(reward_XY) if reference_XY is None else reference_XY
    return World(
        weight_X=weight_X / weight_X.sum(),
        reference_XY=policy(_table("reference", reference_XY, reward_XY)),
        reward_XY=reward_XY,
        length_XY=length_XY.long(),
    )


def random_world(seed: int, *, prompts: int, responses: int, spread: float = 1.0, longest: int = 1) -> World:
    """Return a world with normal rewards, reference logits and uneven prompt weights, a function of the seed.

    Args:
        seed: Of the counter stream.
        prompts: X ≥ 1.
        responses: Y ≥ 2.
        spread: Standard deviation of rewards and reference logits, nats.
        longest: Lengths are uniform on 1 … longest.
    """
    draw = stream(seed, "exact world", prompts, responses)
    size = (prompts, responses)
    return build(
        torch.from_numpy(draw.normal(0, spread, size)),
        reference_XY=torch.from_numpy(draw.normal(0, spread, size)),
        weight_X=torch.from_numpy(draw.uniform(0.5, 1.5, prompts)),
        length_XY=torch.from_numpy(draw.integers(1, longest + 1, size)),
    )


def _table(name: str, value: Tensor, like: Tensor) -> Tensor:
    """Return a table as float64, its shape and finiteness checked."""
    if value.shape != like.shape:
        raise ConfigError(f"{name} has shape {list(value.shape)}, and this world needs {list(like.shape)}.")
    if not bool(torch.isfinite(value).all()):
        raise ConfigError(f"{name} holds NaN or infinite values; every entry of a world's tables is finite.")
    return value.double()
