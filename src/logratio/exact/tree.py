"""A finite world of token sequences: every response that a vocabulary and a length limit allow, and tabular policies.

What a policy does is a table of logits, one row a state (the tokens so far), so that every token's log-prob is its own
and sums over responses, lengths and states are exact. One prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from ..errors import ConfigError

END = 0
"""The token that ends a response before the length limit, where responses may end."""


@dataclass(frozen=True)
class Tree:
    """Y responses of at most `longest` tokens.

    Attributes:
        vocabulary: V.
        longest: Tokens of the longest.
        sequences: Each response's tokens, its END included.
        states: P, how many sequences of tokens a response may go on from, the empty one first.
        state_R, token_R, response_R: State, token and response of each token of all responses, end to end, int64.
    """

    vocabulary: int
    longest: int
    sequences: tuple[tuple[int, ...], ...]
    states: int
    state_R: Tensor
    token_R: Tensor
    response_R: Tensor

    @property
    def length_Y(self) -> Tensor:
        """Tokens of each response, float64 [Y]."""
        return torch.bincount(self.response_R, minlength=len(self.sequences)).double()

    def token_logps(self, logits_PV: Tensor) -> Tensor:
        """Return log π of each token of all responses, [R], from logits [P, V]."""
        return logits_PV.log_softmax(-1)[self.state_R, self.token_R]

    def logps(self, logits_PV: Tensor) -> Tensor:
        """Return log π(y) of each response, [Y]; as probabilities they sum to 1."""
        return self.sums(self.token_logps(logits_PV))

    def sums(self, value_R: Tensor) -> Tensor:
        """Add up a value per token over each response, [Y]."""
        zeros_Y = torch.zeros(len(self.sequences), dtype=value_R.dtype)
        return zeros_Y.index_add(0, self.response_R, value_R)

    def visits(self, logits_PV: Tensor) -> Tensor:
        """Return how probably a response comes through each state, [P]; 1 for the first."""
        mass_R = self.logps(logits_PV).exp().index_select(0, self.response_R)
        return torch.zeros(self.states, dtype=mass_R.dtype).index_add(0, self.state_R, mass_R)


def tree(vocabulary: int, longest: int, *, ends: bool = True) -> Tree:
    """Return the world of all responses.

    Args:
        vocabulary: V ≥ 2, END among them where responses may end.
        longest: ≥ 1.
        ends: Whether END ends a response; otherwise all have `longest` tokens.

    Raises:
        ConfigError: A number below its least.
    """
    if vocabulary < 2 or longest < 1:
        raise ConfigError(
            f"vocabulary {vocabulary} and longest {longest} leave nothing to choose; take 2 and 1 at least."
        )
    every = product(range(vocabulary), repeat=longest)
    cut = (tokens[: tokens.index(END) + 1] if ends and END in tokens else tokens for tokens in every)
    sequences = tuple(dict.fromkeys(cut))
    prefixes = dict.fromkeys(tokens[:n] for tokens in sequences for n in range(len(tokens)))
    place = {prefix: at for at, prefix in enumerate(sorted(prefixes, key=len))}
    steps = [(place[tokens[:n]], tokens[n], y) for y, tokens in enumerate(sequences) for n in range(len(tokens))]
    state_R, token_R, response_R = torch.tensor(steps).T
    return Tree(vocabulary, longest, sequences, len(place), state_R, token_R, response_R)


def kl(of: Tree, policy_PV: Tensor, reference_PV: Tensor) -> Tensor:
    """Return KL(π‖π_ref) over whole responses, nats, scalar, from logits."""
    policy_Y, reference_Y = of.logps(policy_PV), of.logps(reference_PV)
    return (policy_Y.exp() * (policy_Y - reference_Y)).sum()


def token_kl(of: Tree, policy_PV: Tensor, reference_PV: Tensor, *, forward: bool = False) -> Tensor:
    """Return Σ over states of visits·KL(π(·|s)‖π_ref(·|s)), nats, scalar, without the gradient of the visits.

    Its value is `kl`'s; its gradient lacks what comes of going to other states. `forward` takes KL(π_ref‖π) instead.
    """
    own, other = policy_PV.log_softmax(-1), reference_PV.log_softmax(-1)
    first, second = (other, own) if forward else (own, other)
    return (of.visits(policy_PV).detach() * (first.exp() * (first - second)).sum(-1)).sum()
