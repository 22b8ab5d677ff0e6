"""SPPO with hard labels: each response's log-ratio is regressed on half a win."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from .base import Settings
from .facts import Facts
from .pairwise import pairwise
from .views import PairLogps


class SppoSettings(Settings):
    """Settings of `sppo`."""

    beta: float = Field(1e-3, gt=0, description="β = 1/η in 1/nat: log-ratios are aimed at ±1/(2β)")


def sppo(pairs: PairLogps, *, beta: float) -> Tensor:
    """Squared distance of each log-ratio from where a multiplicative-weights step would put it.

        ℓ = (a⁺ − 1/(2β))² + (a⁻ + 1/(2β))²,   a = log π(y|x)/π_ref(y|x)

    Wu et al. 2024 (arXiv:2405.00675), the form for hard labels: η·(P(y≻π_t) − ½) with P = 1 and 0. A soft label p gives
    the form for probabilities, a = ±(p − ½)/β at the minimum. The method is iterative, with fresh pairs of the policy
    and the last policy as the reference; on a fixed file this is one round of it.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        beta: β > 0, in 1/nat.

    Returns:
        Loss per edge, [E], nat²; 1/(2β²) at the reference.
    """
    goal = 1 / (2 * beta)
    return (pairs.chosen_logratio - goal).square() + (pairs.rejected_logratio + goal).square()


OBJECTIVE = pairwise(
    sppo,
    SppoSettings,
    summary="regression of each log-ratio on ±1/(2β), one round of self-play",
    formula="(a⁺ − 1/(2β))² + (a⁻ + 1/(2β))², a = log π/π_ref, sums over response tokens, mean over pairs",
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
