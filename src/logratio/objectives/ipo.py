"""Identity Preference Optimization on sequence sums, the printed formula."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from .base import Settings
from .facts import PAIRWISE, Facts
from .pairwise import pairwise
from .views import PairLogps


class IpoSettings(Settings):
    """Settings of `ipo`."""

    tau: float = Field(0.1, gt=0, description="τ in 1/nat: the margin aimed at is 1/(2τ), so larger stays nearer")


def ipo(pairs: PairLogps, *, tau: float) -> Tensor:
    """Squared distance of the log-ratio margin from a finite target.

        h = a⁺ − a⁻,   a = log π(y|x)/π_ref(y|x), summed over tokens
        ℓ = (h − 1/(2τ))²

    Azar et al. 2023 (arXiv:2310.12036), Eq. 17. There is no β inside h. Averaged over raw labels with P(y⁺ wins) = p
    the minimum lies at h = (p − ½)/τ. Implementations that divide by length are `ipo_mean`; their τ is another.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        tau: τ > 0, in 1/nat.

    Returns:
        Loss per edge, [E], nat².
    """
    return (pairs.difference - 1 / (2 * tau)).square()


def margin(pairs: PairLogps, *, tau: float) -> Tensor:
    """Return τ·h, [E]: the paper's τ weighs the KL divergence as β does elsewhere; ½ where the loss is lowest."""
    return tau * pairs.difference


def pull(pairs: PairLogps, *, tau: float) -> Tensor:
    """Return |½ − τ·h|, [E]: the gradient, of either sign, as a share of twice that at the reference."""
    return (0.5 - margin(pairs, tau=tau)).abs()


OBJECTIVE = pairwise(
    ipo,
    IpoSettings,
    summary="squared distance from a finite margin, on sequence sums",
    formula="(h − 1/(2τ))², h = Δ[log π/π_ref], sums over response tokens, mean over pairs",
    source="Azar et al. 2023 (arXiv:2310.12036), Eq. 17",
    suggested_by="the paper trained bandits only: nothing is published for language models",
    margin=margin,
    pull=pull,
    facts=Facts(
        at_reference=lambda batch, settings: {"ipo": 1 / (4 * settings.tau**2)},
        invariant=PAIRWISE,
        curve="minimum",
        minimum=lambda settings: 1 / (2 * settings.tau),
        swap=lambda settings: 2 / settings.tau,
    ),
)
