"""A batch as an objective reads it: responses, pairs of them, and whole rankings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..batch.logps import Logps
from ..batch.packed import PackedBatch, sent


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
class PairSums:
    """Sums over the chosen and the rejected response of each edge, [E], without a reference.

    Attributes:
        chosen, rejected: log π(y|x), nats.
        chosen_length, rejected_length: Scored tokens.
        probability: Probability that the winner is preferred, in [0, 1]; 1 for a plain label.
    """

    chosen: Tensor
    rejected: Tensor
    chosen_length: Tensor
    rejected_length: Tensor
    probability: Tensor

    @property
    def chosen_mean(self) -> Tensor:
        """Mean log-prob of the chosen response's tokens, nat/token."""
        return self.chosen / self.chosen_length

    @property
    def rejected_mean(self) -> Tensor:
        """Mean log-prob of the rejected response's tokens, nat/token."""
        return self.rejected / self.rejected_length


@dataclass(frozen=True)
class PairLogps(PairSums):
    """The same beside the reference's.

    Attributes:
        reference_chosen, reference_rejected: log π_ref(y|x), nats, [E].
    """

    reference_chosen: Tensor
    reference_rejected: Tensor

    @property
    def chosen_logratio(self) -> Tensor:
        """The log-ratio log π(y⁺|x)/π_ref(y⁺|x), nats."""
        return self.chosen - self.reference_chosen

    @property
    def rejected_logratio(self) -> Tensor:
        """The log-ratio log π(y⁻|x)/π_ref(y⁻|x), nats."""
        return self.rejected - self.reference_rejected

    @property
    def difference(self) -> Tensor:
        """h, the chosen log-ratio minus the rejected one, nats."""
        return self.chosen_logratio - self.rejected_logratio


@dataclass(frozen=True)
class ScoredPairs:
    """A reward model's scores of the chosen and the rejected response of each edge, [E].

    Attributes:
        chosen, rejected: Scores; under Bradley–Terry their difference is a log-odds, nats.
        probability: Probability that the winner is preferred, in [0, 1]; 1 for a plain label.
    """

    chosen: Tensor
    rejected: Tensor
    probability: Tensor


P = TypeVar("P", bound=PairSums | ScoredPairs)


@dataclass(frozen=True)
class Rankings:
    """All responses of each group, [G, K]; groups with fewer than K are padded.

    Attributes:
        policy: log π(y|x), nats.
        length: Scored tokens; 1 where absent.
        score: Higher is better.
        present: True where there is a response.
        slot_S: Place of each response in the flattened [G·K].
    """

    policy: Tensor
    length: Tensor
    score: Tensor
    present: Tensor
    slot_S: Tensor

    def spread(self, value_S: Tensor) -> Tensor:
        """Lay a value per response out as [G, K], 0 where absent."""
        flat = torch.zeros(self.present.numel(), dtype=value_S.dtype, device=value_S.device)
        return flat.index_copy(0, self.slot_S, value_S).view(self.present.shape)


def responses(logps: Logps, batch: PackedBatch) -> ResponseLogps:
    """Sum token log-probs over responses. The batch carries the token column `reference`."""
    return ResponseLogps(
        policy=batch.sum_by_response(logps.policy_R),
        reference=batch.sum_by_response(batch.token["reference"].to(logps.policy_R)),
        length=batch.length_S,
    )


def pair_sums(logps: Logps, batch: PackedBatch) -> PairSums:
    """Gather both sides of every edge."""
    return _sums(batch.sum_by_response(logps.policy_R), batch)


def pairs(logps: Logps, batch: PackedBatch) -> PairLogps:
    """Gather both sides of every edge. The batch carries the token column `reference`."""
    by_response = responses(logps, batch)
    sums = _sums(by_response.policy, batch)
    return PairLogps(
        **vars(sums),
        reference_chosen=by_response.reference.index_select(0, batch.winner_E),
        reference_rejected=by_response.reference.index_select(0, batch.loser_E),
    )


def scores(logps: Logps) -> Tensor:
    """Return each response's score, [S].

    Raises:
        ValueError: The log-probs come from a language model's head.
    """
    if logps.score_S is None:
        raise ValueError("scores are read of a model without a scalar head; declare Needs(head='score').")
    return logps.score_S


def scored_pairs(logps: Logps, batch: PackedBatch) -> ScoredPairs:
    """Gather a reward model's scores of both sides of every edge."""
    score_S = scores(logps)
    return ScoredPairs(
        chosen=score_S.index_select(0, batch.winner_E),
        rejected=score_S.index_select(0, batch.loser_E),
        probability=_probability(batch).to(score_S),
    )


def _probability(batch: PackedBatch) -> Tensor:
    return batch.edge.get("probability", torch.ones(len(batch.winner_E), device=batch.winner_E.device))


def _sums(policy_S: Tensor, batch: PackedBatch) -> PairSums:
    won, lost = batch.winner_E, batch.loser_E
    return PairSums(
        chosen=policy_S.index_select(0, won),
        rejected=policy_S.index_select(0, lost),
        chosen_length=batch.length_S.to(policy_S).index_select(0, won),
        rejected_length=batch.length_S.to(policy_S).index_select(0, lost),
        probability=_probability(batch).to(policy_S),
    )


def opening_pairs(logps: Logps, batch: PackedBatch, *, rest: float) -> PairLogps:
    """Gather both sides of every edge, tokens beyond the shorter side's length weighed by `rest`.

    A response's sum is S(first l tokens) + rest·S(the others), l = min(|y⁺|, |y⁻|), under policy and reference alike.
    """
    plain = pairs(logps, batch)
    shorter_E = torch.minimum(plain.chosen_length, plain.rejected_length).long()
    opening = {
        f"{source}{side}": _opening_sum(value_R, batch, response_E, shorter_E)
        for source, value_R in (("", logps.policy_R), ("reference_", batch.token["reference"].to(logps.policy_R)))
        for side, response_E in (("chosen", batch.winner_E), ("rejected", batch.loser_E))
    }
    return replace(plain, **{name: own + rest * (getattr(plain, name) - own) for name, own in opening.items()})


def _opening_sum(value_R: Tensor, batch: PackedBatch, response_E: Tensor, count_E: Tensor) -> Tensor:
    """Add up a per-token value over the first `count_E` scored tokens of responses, [E]; they have that many."""
    length_S = batch.length_S.long()
    begin_E = (length_S.cumsum(0) - length_S).index_select(0, response_E)
    edge = torch.repeat_interleave(torch.arange(len(count_E), device=count_E.device), count_E)
    place = torch.arange(len(edge), device=edge.device) - (count_E.cumsum(0) - count_E).index_select(0, edge)
    taken = value_R.index_select(0, begin_E.index_select(0, edge) + place)
    return torch.zeros(len(count_E), dtype=value_R.dtype, device=value_R.device).index_add(0, edge, taken)


def ties(batch: PackedBatch) -> Tensor:
    """Return which edges are ties, "both bad" included, bool [E]; none where the batch has no column `tie`."""
    tie_E = batch.edge.get("tie")
    return torch.zeros_like(batch.winner_E, dtype=torch.bool) if tie_E is None else tie_E > 0


def rankings(logps: Logps, batch: PackedBatch) -> Rankings:
    """Lay each group's responses side by side. The batch carries the response column `score`."""
    groups, device = len(batch.row_G), logps.policy_R.device
    counted_G = torch.bincount(batch.spans.group_S, minlength=groups)  # where the spans are: a GPU is not waited for
    most = int(counted_G.max()) if groups else 0
    group_S, count_G = (sent(own, device) for own in (batch.spans.group_S, counted_G))
    first_G = count_G.cumsum(0) - count_G
    slot_S = group_S * most + torch.arange(len(group_S), device=group_S.device) - first_G.index_select(0, group_S)
    present = torch.arange(most, device=group_S.device)[None] < count_G[:, None]
    policy_S = batch.sum_by_response(logps.policy_R)
    bare = Rankings(policy=policy_S, length=policy_S, score=policy_S, present=present, slot_S=slot_S)
    return replace(
        bare,
        policy=bare.spread(policy_S),
        length=bare.spread(batch.length_S.to(policy_S)) + (~present).to(policy_S),
        score=bare.spread(batch.response["score"].to(policy_S)),
    )


def swapped(pairs: P) -> P:
    """Return the pairs with chosen and rejected exchanged."""
    other = {"chosen": "rejected", "rejected": "chosen"}
    sides = {
        field.name: field.name.replace(side, other[side])
        for field in fields(pairs)
        for side in other
        if side in field.name
    }
    exchanged = {name: getattr(pairs, opposite) for name, opposite in sides.items()}
    return replace(pairs, **exchanged, probability=1 - pairs.probability)


def expected(pairs: P, loss: Callable[[P], Tensor]) -> Tensor:
    """Return a loss per pair under soft labels, p·ℓ(pair) + (1−p)·ℓ(pair swapped), [E]; ℓ(pair) for plain labels.

    The expectation of `loss` over labels drawn with the pair's own probability, so that it has the same minimum as the
    repeated judgements themselves.
    """
    soft, other = pairs.probability != 1, swapped(pairs)  # certain pairs stay: their exchange may have no finite loss
    turned: dict[str, Any] = {
        field.name: torch.where(soft, getattr(other, field.name), getattr(pairs, field.name)) for field in fields(pairs)
    }
    return pairs.probability * loss(pairs) + (1 - pairs.probability) * loss(replace(pairs, **turned))
