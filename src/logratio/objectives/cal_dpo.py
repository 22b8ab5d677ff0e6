"""Cal-DPO: a logistic loss on log-ratios, and a regression that fixes their scale."""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from .base import Settings
from .facts import Facts
from .pairwise import pairwise
from .views import PairLogps


class CalDpoSettings(Settings):
    """Settings of `cal_dpo`."""

    beta: float = Field(1e-3, gt=0, description="β in 1/nat: log-ratios are aimed at ±1/(2β), so larger stays nearer")


def cal_dpo(pairs: PairLogps, *, beta: float) -> Tensor:
    """Logistic loss on the log-ratios' difference, and their squared distance from calibrated rewards of ±½.

        ℓ = −log σ(a⁺ − a⁻) + (a⁺ − 1/(2β))² + (a⁻ + 1/(2β))²,   a = log π(y|x)/π_ref(y|x)

    Xiao et al. 2024 (arXiv:2412.14516). β is in the targets only, not inside the sigmoid; the squares have weight 1
    each. The minimum is finite, at a⁺ = −a⁻ = h/2 with h = 1/β + σ(−h). The default β is `sppo`'s.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        beta: β > 0, in 1/nat.

    Returns:
        Loss per edge, [E]; log 2 + 1/(2β²) at the reference.
    """
    goal = 1 / (2 * beta)
    calibration = (pairs.chosen_logratio - goal).square() + (pairs.rejected_logratio + goal).square()
    return softplus(-pairs.difference) + calibration


def best_margin(beta: float) -> float:
    """Return the h with h = 1/β + σ(−h), nats, as the limit of iterating it (a contraction by ¼)."""
    h = 1 / beta
    for _ in range(60):
        h = 1 / beta + math.exp(-h) / (1 + math.exp(-h))
    return h


OBJECTIVE = pairwise(
    cal_dpo,
    CalDpoSettings,
    summary="a logistic loss on log-ratios, their scale fixed by regression",
    formula="−log σ(a⁺ − a⁻) + (a⁺ − 1/(2β))² + (a⁻ + 1/(2β))², a = log π/π_ref (sums over tokens), mean over pairs",
    source="Xiao et al. 2024 (arXiv:2412.14516)",
    facts=Facts(
        at_reference=lambda batch, settings: {"cal_dpo": math.log(2) + 1 / (2 * settings.beta**2)},
        curve="minimum",
        minimum=lambda settings: best_margin(settings.beta),
        swap=lambda settings: 1 + 2 / settings.beta,
    ),
)
