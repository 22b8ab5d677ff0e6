"""Identity Preference Optimization on per-token means, the practical form."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from .base import Settings
from .facts import Facts
from .pairwise import pairwise
from .views import PairLogps


class IpoMeanSettings(Settings):
    """Settings of `ipo_mean`."""

    tau: float = Field(0.1, gt=0, description="τ in token/nat: the margin aimed at is 1/(2τ) nat a token")


def ipo_mean(pairs: PairLogps, *, tau: float) -> Tensor:
    """Squared distance of the per-token log-ratio margin from a finite target.

        h = a⁺/|y⁺| − a⁻/|y⁻|,   a = log π(y|x)/π_ref(y|x)
        ℓ = (h − 1/(2τ))²

    Azar et al. 2023 (arXiv:2310.12036), Eq. 17, with each log-ratio divided by its response's length, as widely used
    implementations do. The paper's optimum holds for sums (`ipo`), not for these; a τ of one is not a τ of the other.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        tau: τ > 0, in token/nat.

    Returns:
        Loss per edge, [E], (nat/token)².
    """
    return (difference(pairs) - 1 / (2 * tau)).square()


def difference(pairs: PairLogps) -> Tensor:
    """Return h of means, nat/token, [E]."""
    return pairs.chosen_logratio / pairs.chosen_length - pairs.rejected_logratio / pairs.rejected_length


def margin(pairs: PairLogps, *, tau: float) -> Tensor:
    """Return τ·h, [E]; ½ where the loss is lowest."""
    return tau * difference(pairs)


def pull(pairs: PairLogps, *, tau: float) -> Tensor:
    """Return |½ − τ·h|, [E]: the gradient, of either sign, as a share of twice that at the reference."""
    return (0.5 - margin(pairs, tau=tau)).abs()


OBJECTIVE = pairwise(
    ipo_mean,
    IpoMeanSettings,
    summary="squared distance from a finite margin, on per-token means",
    formula="(h − 1/(2τ))², h = Δ[mean over response tokens of log π/π_ref], mean over pairs",
    source="Azar et al. 2023 (arXiv:2310.12036), Eq. 17, on means",
    suggested_by="τ of SimPO's authors on Llama-3-Base, who took rate 5e-7 and batch 128",
    margin=margin,
    pull=pull,
    facts=Facts(at_reference=lambda batch, settings: {"ipo_mean": 1 / (4 * settings.tau**2)}, curve="minimum"),
)
