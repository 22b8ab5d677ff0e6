"""Direct Preference Optimization, with label smoothing, soft labels and other divergences than the reverse KL."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import softplus

from ..batch.logps import Logps
from ..batch.needs import Needs
from ..batch.packed import PackedBatch
from . import views
from .base import Objective, Settings, Term
from .divergences import Divergence, held, slope
from .facts import PAIRWISE, Facts, Shift
from .metrics import Metric, pair_metrics


class DpoSettings(Settings):
    """Settings of `dpo`."""

    beta: float = Field(0.1, gt=0, description="β in 1/nat: larger holds the policy nearer the reference")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="ε: probability that a label is flipped")
    divergence: Divergence = Field("reverse_kl", description="f-divergence that holds the policy near the reference")
    alpha: float | None = Field(None, gt=0, lt=1, description="α of the alpha divergence, and only of that one")

    @model_validator(mode="after")
    def _alpha_goes_with_alpha(self) -> DpoSettings:
        if (self.divergence == "alpha") != (self.alpha is not None):
            raise ValueError(
                f"alpha is {self.alpha} with divergence {self.divergence}; the alpha divergence needs an α in (0, 1) "
                "and the others have none: set both alpha and divergence=alpha, or leave alpha out."
            )
        return self


def dpo(
    pairs: views.PairLogps,
    *,
    beta: float,
    label_smoothing: float = 0.0,
    divergence: Divergence = "reverse_kl",
    alpha: float | None = None,
) -> Tensor:
    """Logistic loss on each pair's implicit-reward margin.

        m = β·[log π(y⁺|x)/π_ref(y⁺|x) − log π(y⁻|x)/π_ref(y⁻|x)]
        ℓ = −q·log σ(m) − (1−q)·log σ(−m),   q = (1−ε)·p + ε·(1−p)

    p = 1, ε = 0: Rafailov et al. 2023 (arXiv:2305.18290), Eq. 7.  ε > 0: conservative DPO (Mitchell 2023).
    p < 1: the same cross-entropy with the pair's own preference probability, so that m = log p/(1−p) at the minimum.
    Another divergence: m = β·[f'(π/π_ref(y⁺)) − f'(π/π_ref(y⁻))], Wang et al. 2023 (arXiv:2309.16240); under
    Bradley–Terry its minimum maximises E r − β·D_f. α is the paper's; one implementation calls 1 − α so.
    Exponents are held at 30, without gradient beyond, and counted by the metric `held`.

    Args:
        pairs: log-probabilities at E edges, float32 [E], nats, summed over response tokens (EOS included).
        beta: β > 0, in 1/nat; larger holds the policy nearer the reference.
        label_smoothing: ε in [0, ½), probability that a label is flipped.
        divergence: See `divergences.slope`.
        alpha: α in (0, 1) of the alpha divergence.

    Returns:
        Loss per edge, [E], unreduced: the loop divides by the term's global denominator.
    """
    m = margin(pairs, beta=beta, divergence=divergence, alpha=alpha)
    right = (1 - label_smoothing) * pairs.probability + label_smoothing * (1 - pairs.probability)
    return right * softplus(-m) + (1 - right) * softplus(m)


def margin(pairs: views.PairLogps, *, beta: float, divergence: Divergence, alpha: float | None) -> Tensor:
    """Return m, the difference of implicit rewards, [E]."""
    if divergence == "reverse_kl":
        return beta * pairs.difference
    chosen, rejected = (slope(side, divergence, alpha) for side in (pairs.chosen_logratio, pairs.rejected_logratio))
    return beta * (chosen - rejected)


def _losses(logps: Logps, batch: PackedBatch, settings: DpoSettings) -> Mapping[str, Tensor]:
    return {"dpo": dpo(views.pairs(logps, batch), **settings.model_dump())}


def _metrics(logps: Logps, batch: PackedBatch, settings: DpoSettings) -> Mapping[str, Metric]:
    pairs = views.pairs(logps, batch)
    m = margin(pairs, beta=settings.beta, divergence=settings.divergence, alpha=settings.alpha)
    own = pair_metrics(pairs, beta=settings.beta, margin=m)
    if settings.divergence in ("reverse_kl", "js"):
        return own
    share = held(pairs.chosen_logratio, pairs.rejected_logratio, settings.divergence, settings.alpha)
    return {**own, "held": Metric(share, "edge")}


def _lost(settings: DpoSettings) -> frozenset[Shift]:
    return frozenset() if settings.divergence == "reverse_kl" else PAIRWISE


OBJECTIVE = Objective(
    summary="logistic loss on the implicit-reward margin",
    formula="−(1−ε)·log σ(m) − ε·log σ(−m), m = β·Δ[log π/π_ref] (or Δ[f'(π/π_ref)]), sums over response tokens, "
    "mean over pairs",
    source="Rafailov et al. 2023 (arXiv:2305.18290), Eq. 7; smoothing: Mitchell 2023; divergences: arXiv:2309.16240",
    suggests={"train.batch_size": 64},
    suggested_by="Rafailov et al. 2023, appendix B; its rate, 1e-6, is the general default below 3B parameters",
    data="pairs",
    settings=DpoSettings,
    terms=lambda settings: {"dpo": Term("edge")},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(reference=True),
    facts=Facts(
        at_reference=lambda batch, settings: {"dpo": math.log(2)},
        invariant=PAIRWISE,
        lost=_lost,
        curve="decreasing",
        swap=lambda settings: (
            settings.beta * (1 - 2 * settings.label_smoothing) if settings.divergence == "reverse_kl" else None
        ),
        variants=(
            {"divergence": "forward_kl"},
            {"divergence": "js"},
            {"divergence": "alpha", "alpha": 0.4},
            {"divergence": "chi_squared_mixture"},
        ),
    ),
)
