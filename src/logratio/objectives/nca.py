"""Noise-contrastive alignment of pairs: each response is told from the reference, by itself."""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from .base import Settings
from .facts import Facts
from .pairwise import pairwise
from .views import PairLogps


class NcaSettings(Settings):
    """Settings of `nca`."""

    beta: float = Field(0.01, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")


def nca(pairs: PairLogps, *, beta: float) -> Tensor:
    """Raise the chosen response against the reference, and hold both down by the same measure.

        r = β·a,   a = log π(y|x)/π_ref(y|x)
        ℓ = −log σ(r⁺) − ½·log σ(−r⁺) − ½·log σ(−r⁻)

    Chen et al. 2024 (arXiv:2402.05369), the form for a pair with a plain label. Not a function of the difference alone:
    the chosen response settles at r⁺ = log 2 instead of falling together with the rejected one, which goes to −∞.
    2·log 2 at the reference. `info_nca` is the same paper's loss of differences.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens.
        beta: β > 0, in 1/nat.

    Returns:
        Loss per edge, [E].
    """
    chosen, rejected = beta * pairs.chosen_logratio, beta * pairs.rejected_logratio
    return softplus(-chosen) + (softplus(chosen) + softplus(rejected)) / 2


OBJECTIVE = pairwise(
    nca,
    NcaSettings,
    summary="tells each response from the reference, so that the chosen one does not fall",
    formula="−log σ(r⁺) − ½·log σ(−r⁺) − ½·log σ(−r⁻), r = β·log π/π_ref, sums over response tokens, mean over pairs",
    source="Chen et al. 2024 (arXiv:2402.05369)",
    suggests={"train.lr": 5e-6, "train.batch_size": 32},
    suggested_by="Chen et al. 2024",
    facts=Facts(
        at_reference=lambda batch, settings: {"nca": 2 * math.log(2)},
        curve="minimum",
        minimum=lambda settings: 2 * math.log(3) / settings.beta,  # r⁺ = −r⁻ = x: 3/2·ℓ(x) + 1/2·ℓ(−x), σ(x) = 3/4
        swap=lambda settings: settings.beta / 2,
    ),
)
