"""What happens to a row longer than `max_length`. Decided from lengths alone, so that no rule retokenises."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..batch.group import Bools, Group
from ..config import TokensConfig


@dataclass(frozen=True)
class Lengths:
    """Lengths of G rows, in tokens, whole numbers [G] each.

    Attributes:
        prompt: Tokens of the prompt.
        longest: Tokens of the longest response.
        needed: Leading response tokens without which a response would carry no loss, or a comparison would be between
            equal responses.
    """

    prompt: NDArray[np.integer[Any]]
    longest: NDArray[np.integer[Any]]
    needed: NDArray[np.integer[Any]]

    @property
    def total(self) -> NDArray[np.integer[Any]]:
        """Tokens of the prompt and its longest response together, [G]."""
        return self.prompt + self.longest


def fitting(lengths: Lengths, rule: TokensConfig, *, bos: bool) -> Bools:
    """Return which rows stay, [G].

    Where the prompt is cut, at least one of its tokens must stay behind the BOS; where responses are truncated, each
    must keep a token that carries loss, and compared ones must still differ.
    """
    if rule.overflow == "left_prompt":
        least = lengths.longest + np.minimum(lengths.prompt, bos + 1)
    elif rule.overflow == "truncate":
        least = lengths.prompt + lengths.needed
    else:
        least = lengths.total
    return np.asarray(least <= rule.max_length)


def fit(group: Group, rule: TokensConfig, *, bos: bool) -> Group:
    """Return a group of at most `max_length` tokens a sequence: all responses keep one identical prompt.

    A truncated response loses its end token, so that nothing teaches the model to stop there. BOS stays.
    """
    longest = max(len(response) for response in group.responses)
    if len(group.prompt) + longest <= rule.max_length:
        return group
    if rule.overflow == "truncate":
        room = rule.max_length - len(group.prompt)
        return replace(
            group,
            responses=tuple(response[:room] for response in group.responses),
            loss=tuple(mask[:room] for mask in group.loss),
        )
    cut = len(group.prompt) + longest - rule.max_length
    return replace(group, prompt=np.concatenate([group.prompt[:bos], group.prompt[bos + cut :]]))
