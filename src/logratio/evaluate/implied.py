"""The win probability that a loss implies: how often a response would have to win for the loss to rest where it is.

    p·ℓ'(h) + (1 − p)·ℓ̃'(h) = 0,   ℓ̃ the loss of the same pair judged the other way, ' along chosen up, rejected down

If of many judgements of a pair a share p prefers its first response, p·ℓ + (1 − p)·ℓ̃ is what training minimises. So the
margin to which it is drawn tells p, and where p grows strictly with the margin, the margin tells p in turn: the loss is
a proper one with that link. p is the probability of the label as the data has it: of a smoothed or noise-corrected loss
it is not σ(margin).

    dpo   σ(m);  with label smoothing (σ(m) − ε)/(1 − 2ε)      ipo    ½ + τ·h
    robust_dpo   (1 − ε)·σ(u) + ε·σ(−u)                        reward   σ(r⁺ − r⁻), whatever its centring

Nothing is declared by an objective: slopes are taken of its own loss, so one of one's own is read the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..batch.group import Group
from ..batch.logps import Logps
from ..batch.packed import PackedBatch, pack
from ..objectives.base import Objective, Settings
from .apart import Apart, pair

IMITATION = "sft"
"""The term that `objectives.mixture` puts beside a preference loss; it says nothing of who wins."""

_REACH, _POINTS, _LEVEL, _TOKENS = 40.0, 81, -15.0, 4  # nats of h, margins tried, nats a token, tokens a response
_SHIFTS = (0.0, -8.0, 8.0)  # nats, on both responses alike
_ENDS = 1e-9
_SAME = 1e-6  # probabilities this close are equal; the log-odds of a level of 4·15 nats is the log-prob to 1e-7


@dataclass(frozen=True)
class Implied:
    """Decided pairs with the probability that the loss implies.

    Attributes:
        probability: That the response labelled the winner is preferred, float64 [E], in [0, 1].
        preferred: How often it is: 1, or the label's own probability, float64 [E].
        prompt: Number of the prompt, [E].
    """

    probability: NDArray[np.float64]
    preferred: NDArray[np.float64]
    prompt: NDArray[np.int64]


def why_not(objective: Objective, settings: Settings, group: Group) -> str | None:
    """Return why the margin of a pair implies no probability under this loss, a clause; None where it does.

    The loss is tried on one pair of equally long responses over ±40 nats of h.

    Args:
        objective: The loss.
        settings: Its settings.
        group: Any of the data with an edge, for its columns.
    """
    needs, terms = objective.needs(settings), objective.terms(settings)
    if objective.data != "pairs" or any(term.unit != "edge" for term in terms.values()):
        return "its loss is not one of pairs"
    if objective.scope != "item":
        return "the loss of a pair depends on the whole step"
    if objective.supervised:
        return "it imitates the chosen response too, so that where it rests does not tell how often that wins"
    probability, fits = _tried(objective, settings, group)
    known = np.isfinite(probability[0])
    inner = probability[0][known]
    low, high = inner.min(initial=1.0), inner.max(initial=0.0)
    inner = inner[(inner > max(low, 0) + _ENDS) & (inner < min(high, 1) - _ENDS)]  # at the ends it only rounds
    if len(inner) < 3 or not (np.diff(inner) > 0).all():
        return "over some margins its slope stays the same or turns round, so that a margin stands for no one chance"
    alike = np.abs(probability - probability[0])[:, known]
    if not fits and not (np.isfinite(alike).all() and alike.max() < _SAME):
        return "it moves each response by itself, so that a margin stands for no one chance"
    return "it gives ties a probability of their own" if needs.ties else None


def implied(
    objective: Objective, settings: Settings, groups: Sequence[Group], logps: Logps, state: Mapping[str, Tensor]
) -> Implied | None:
    """Return the implied probability of every decided pair; None where there is none, or the loss is flat at one.

    Args:
        objective: The loss, of which `why_not` says nothing.
        settings: Its settings.
        groups: Groups with edges; ties are left out.
        logps: Their floats laid end to end.
        state: The objective's running values.
    """
    apart = Apart.of(groups)
    if not apart.pairs:
        return None
    probability, _ = _resting(objective, settings, pack(apart.pairs).with_state(state), apart.logps(logps))
    if not np.isfinite(probability).all():
        return None
    return Implied(probability.clip(0, 1), apart.preferred, apart.prompt)


def _tried(objective: Objective, settings: Settings, group: Group) -> tuple[NDArray[np.float64], bool]:
    """Return p over margins in rows of one common shift each, and whether it brings every single token to rest."""
    h = _REACH * np.linspace(-1, 1, _POINTS) ** 3  # dense about 0, where a large β has all of its slope
    pair = _even(group)
    batch = pack([pair] * (_POINTS * len(_SHIFTS)))
    shift = np.repeat(_SHIFTS, _POINTS)[:, None] + np.tile(h, len(_SHIFTS))[:, None] * [0.5, -0.5]
    by_S = torch.from_numpy(shift.reshape(-1))
    logp_R = _LEVEL + (by_S / _TOKENS).repeat_interleave(_TOKENS)
    level_R = torch.full_like(logp_R, _LEVEL)
    needs = objective.needs(settings)
    extras = {
        "entropy_R": torch.ones_like(logp_R) if "entropy" in needs.extras else None,
        "square_R": (0.9 * logp_R).exp() if "square" in needs.extras else None,
        "divergence_R": torch.zeros_like(logp_R) if needs.divergence else None,
    }
    logps = Logps(logp_R[:0], score_S=by_S) if needs.head == "score" else Logps(logp_R, **extras)
    state = {name: torch.tensor(value).double() for name, value in objective.state(settings).items()}
    probability, fits = _resting(objective, settings, batch.with_token(reference=level_R).with_state(state), logps)
    return probability.reshape(len(_SHIFTS), _POINTS), fits


def _resting(
    objective: Objective, settings: Settings, batch: PackedBatch, logps: Logps
) -> tuple[NDArray[np.float64], bool]:
    """Return the p at which each pair of a batch rests, [E], and whether every number of it rests there.

    The batch has one pair a group, its winner first.
    """
    own = _slopes(objective, settings, batch, logps)
    other = _slopes(objective, settings, replace(batch, winner_E=batch.loser_E, loser_E=batch.winner_E), logps)
    scores = logps.score_S is not None
    own_E, other_E = (_along(slope, batch, scores=scores) for slope in (own, other))
    probability_E = other_E / (other_E - own_E)  # 0/0 where the loss is flat both ways
    pair = torch.arange(batch.responses) // 2
    each = probability_E.index_select(0, pair if scores else pair[batch.response_R])
    rest = (each * own + (1 - each) * other).abs()
    fits = bool((rest <= _SAME * torch.maximum(own.abs(), other.abs()))[each.isfinite()].all())
    return probability_E.numpy(), fits


def _slopes(objective: Objective, settings: Settings, batch: PackedBatch, logps: Logps) -> Tensor:
    """Return the gradient of the preference terms with respect to every log-prob, or score."""
    name = "policy_R" if logps.score_S is None else "score_S"
    leaf = getattr(logps, name).detach().clone().requires_grad_()
    terms = objective.terms(settings)
    losses = objective.losses(replace(logps, **{name: leaf}), batch, settings)
    total = torch.stack([terms[key].coefficient * loss.sum() for key, loss in losses.items() if key != IMITATION]).sum()
    gradient: Tensor = torch.autograd.grad(total, leaf)[0]
    return gradient


def _along(slope: Tensor, batch: PackedBatch, *, scores: bool) -> Tensor:
    """Return the slope along chosen up, rejected down, each response's tokens alike, [E]."""
    by_S = slope if scores else batch.sum_by_response(slope) / batch.length_S.double().clamp(min=1)
    sides = by_S.reshape(-1, 2)
    return sides[:, 0] - sides[:, 1]


def _even(group: Group) -> Group:
    """Return a pair of equally long responses with the columns of a group's first edge."""
    sides = [int(side) for side in group.edges[0]]
    bare = pair(group, 0, sides, np.zeros(2 * _TOKENS, np.int64))
    response, mask = np.zeros(_TOKENS, np.int32), np.ones(_TOKENS, np.bool_)
    return replace(bare, prompt=np.zeros(1, np.int32), responses=(response, response), loss=(mask, mask))
