"""SPPO: each response's log-ratio is regressed on how much more often than not it wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from pydantic import Field
from torch import Tensor

from ..batch.logps import Logps
from ..batch.needs import Needs
from ..batch.packed import PackedBatch
from . import views
from .base import Settings
from .facts import Facts
from .pairwise import pairwise
from .views import PairLogps


class SppoSettings(Settings):
    """Settings of `sppo`."""

    beta: float = Field(1e-3, gt=0, description="β = 1/η in 1/nat: log-ratios are aimed at ±1/(2β)")


def sppo(pairs: PairLogps, *, beta: float, chosen: Tensor | float = 1.0, rejected: Tensor | float = 0.0) -> Tensor:
    """Squared distance of each log-ratio from where a multiplicative-weights step would put it.

        ℓ = (a⁺ − (P⁺ − ½)/β)² + (a⁻ − (P⁻ − ½)/β)²,   a = log π(y|x)/π_ref(y|x),   P = P(y≻π_t)

    Wu et al. 2024 (arXiv:2405.00675). Of fresh responses P is their estimate, the mean of the judge's preference for y
    over the K responses to the prompt, y itself at ½. A file of pairs tells no more than who won: P = 1 and 0, their
    form for hard labels; a soft label p gives a = ±(p − ½)/β at the minimum. The method is iterative, with fresh pairs
    of the policy and the last policy as the reference; on a fixed file this is one round of it.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        beta: β = 1/η > 0, in 1/nat.
        chosen: P of the chosen response, in [0, 1], [E] or one for all.
        rejected: P of the rejected one.

    Returns:
        Loss per edge, [E], nat²; 1/(2β²) at the reference for hard labels.
    """
    goals = [(won - 0.5) / beta for won in (chosen, rejected)]
    return (pairs.chosen_logratio - goals[0]).square() + (pairs.rejected_logratio - goals[1]).square()


def losses(logps: Logps, batch: PackedBatch, settings: SppoSettings) -> Mapping[str, Tensor]:
    """Return the loss per edge: on the responses' own win rates where there are any, else by the edges' labels."""
    pairs = views.pairs(logps, batch)
    if "win_rate" not in batch.response:
        return {"sppo": views.expected(pairs, partial(sppo, beta=settings.beta))}
    won_S = batch.response["win_rate"].to(pairs.chosen)
    chosen, rejected = (won_S.index_select(0, side) for side in (batch.winner_E, batch.loser_E))
    return {"sppo": sppo(pairs, beta=settings.beta, chosen=chosen, rejected=rejected)}


_PAIRWISE = pairwise(
    sppo,
    SppoSettings,
    summary="regression of each log-ratio on (P(y≻π_t) − ½)/β, one round of self-play",
    formula="(a⁺ − (P⁺ − ½)/β)² + (a⁻ − (P⁻ − ½)/β)², a = log π/π_ref, P the mean preference over fresh responses, of "
    "given pairs 1 and 0, sums over response tokens, mean over pairs",
    source="Wu et al. 2024 (arXiv:2405.00675)",
    suggests={"train.lr": 5e-7, "train.batch_size": 64},
    suggested_by="Wu et al. 2024",
    facts=Facts(
        at_reference=lambda batch, settings: {"sppo": 1 / (2 * settings.beta**2)},
        curve="minimum",
        minimum=lambda settings: 1 / settings.beta,
        swap=lambda settings: 2 / settings.beta,
    ),
)

OBJECTIVE = replace(_PAIRWISE, losses=losses, needs=lambda settings: Needs(reference=True, win_rate=True))
