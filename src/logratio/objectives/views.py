"""A batch as an objective reads it: responses, and pairs of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..batch.logps import Logps
from ..batch.packed import PackedBatch


@dataclass(frozen=True)
class ResponseLogps:
    """Sums over each response's scored tokens (end-of-turn token included), float32 [S].

    Attributes:
        policy: log π(y|x), nats.
        reference: log π_ref(y|x), nats.
        length: Number of scored tokens.
    """

    policy: Tensor
    reference: Tensor
    length: Tensor

    @property
    def logratio(self) -> Tensor:
        """The log-ratio log π(y|x)/π_ref(y|x), nats."""
        return self.policy - self.reference


@dataclass(frozen=True)
class PairLogps:
    """Sums over the chosen and the rejected response of each edge, [E].

    Attributes:
        chosen, rejected: log π(y|x), nats.
        reference_chosen, reference_rejected: log π_ref(y|x), nats.
        chosen_length, rejected_length: Scored tokens.
        probability: Probability that the winner is preferred, in [0, 1]; 1 for a plain label.
    """

    chosen: Tensor
    rejected: Tensor
    reference_chosen: Tensor
    reference_rejected: Tensor
    chosen_length: Tensor
    rejected_length: Tensor
    probability: Tensor

    @property
    def chosen_logratio(self) -> Tensor:
        """The log-ratio log π(y⁺|x)/π_ref(y⁺|x), nats."""
        return self.chosen - self.reference_chosen

    @property
    def rejected_logratio(self) -> Tensor:
        """The log-ratio log π(y⁻|x)/π_ref(y⁻|x), nats."""
        return self.rejected - self.reference_rejected


def responses(logps: Logps, batch: PackedBatch) -> ResponseLogps:
    """Sum token log-probs over responses. The batch carries the token column `reference`."""
    return ResponseLogps(
        policy=batch.sum_by_response(logps.policy_R),
        reference=batch.sum_by_response(batch.token["reference"].to(logps.policy_R)),
        length=batch.length_S,
    )


def pairs(logps: Logps, batch: PackedBatch) -> PairLogps:
    """Gather both sides of every edge. The batch carries the token column `reference`."""
    by_response = responses(logps, batch)
    won, lost = batch.winner_E, batch.loser_E
    return PairLogps(
        chosen=by_response.policy.index_select(0, won),
        rejected=by_response.policy.index_select(0, lost),
        reference_chosen=by_response.reference.index_select(0, won),
        reference_rejected=by_response.reference.index_select(0, lost),
        chosen_length=by_response.length.index_select(0, won),
        rejected_length=by_response.length.index_select(0, lost),
        probability=batch.edge.get("probability", torch.ones(len(won), device=won.device)),
    )
