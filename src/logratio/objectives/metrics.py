"""Metrics that objectives share: per-item values, reduced by the loop as (Σ w·v, Σ w)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..batch.logps import Logps
from ..batch.packed import PackedBatch
from .views import PairLogps, PairSums, scored_pairs, scores


@dataclass(frozen=True)
class Metric:
    """Per-item values and the weight of each in the mean.

    Attributes:
        value: One number an item.
        unit: What an item is; "step" for a number of the whole step.
        weight: ≥ 0, one an item; None counts each item once.
    """

    value: Tensor
    unit: Literal["token", "response", "edge", "group", "step"]
    weight: Tensor | None = None

    def total(self) -> tuple[Tensor, Tensor]:
        """Return (Σ w·v, Σ w) as float64 scalars, so that bins and ranks add up exactly."""
        value = self.value.detach().double()
        weight = torch.ones_like(value) if self.weight is None else self.weight.double()
        return (value * weight).sum(), weight.sum()


EQUAL = 1e-4
"""Log-ratios this close, in nats, count as equal: one sequence's log-prob differs between bins by up to 6e-5."""

TABLE: dict[str, tuple[str, str]] = {
    "loss": ("Σ_k c_k Σ_i w_i ℓ_ki / Σ_i w_i over the step", "as the objective"),
    "nll_per_token": ("−Σ log π(y_t) / Σ 1 over scored tokens", "nat/token"),
    "accuracy": (
        "share of pairs with chosen log-ratio (reward model: score) above the rejected one, ½ where they differ by at "
        f"most {EQUAL:g} nat",
        "share",
    ),
    "margin": ("β·(chosen log-ratio − rejected log-ratio); reward model: r⁺ − r⁻", "nat"),
    "score": ("mean of the reward model's r over responses", "nat"),
    "score_chosen": ("r of the chosen response, mean over pairs", "nat"),
    "score_rejected": ("r of the rejected response, mean over pairs", "nat"),
    "likelihood_accuracy": ("share of pairs with log π(y⁺|x) > log π(y⁻|x), ½ where equal", "share"),
    "per_token_accuracy": ("share of pairs with log π(y⁺|x)/|y⁺| > log π(y⁻|x)/|y⁻|, ½ where equal", "share"),
    "logp_chosen_per_token": ("Σ log π(y⁺|x) / Σ chosen tokens", "nat/token"),
    "logp_rejected_per_token": ("Σ log π(y⁻|x) / Σ rejected tokens", "nat/token"),
    "logratio_chosen": ("log π(y⁺|x)/π_ref(y⁺|x), summed over the response", "nat"),
    "logratio_rejected": ("log π(y⁻|x)/π_ref(y⁻|x), summed over the response", "nat"),
    "logratio_chosen_per_token": ("Σ chosen log-ratios / Σ chosen tokens", "nat/token"),
    "logratio_rejected_per_token": ("Σ rejected log-ratios / Σ rejected tokens", "nat/token"),
    "logratio_desirable": ("log π(y|x)/π_ref(y|x) over responses labelled good", "nat"),
    "logratio_undesirable": ("log π(y|x)/π_ref(y|x) over responses labelled bad", "nat"),
    "baseline_raw": ("mean log π(y'|x)/π_ref(y'|x) over mismatched responses y'", "nat"),
    "baseline": ("max(0, baseline_raw): KTO's z₀", "nat"),
    "reward_shift": ("½·(E₊ + E₋) of β·log π/π_ref, running: BCO's δ", "nat"),
    "pair_weight": ("min(1, Π over both responses of exp mean_t[log π(y_t) − log Σ_v π(v)²]): WPO's w", "1"),
    "beta": ("β₀·(1 + α·(mean margin of kept pairs − running mean)), at least 10⁻³: the step's β", "1/nat"),
    "clipped": ("share of pairs whose margin was clipped at ±2R_max: χPO", "share"),
    "drift_chosen": ("Σ_t KL(π_ref ‖ π) over the vocabulary along the chosen response", "nat"),
    "drift_rejected": ("Σ_t KL(π_ref ‖ π) over the vocabulary along the rejected response", "nat"),
    "held": ("share of pairs in which an exponent was held at its limit", "share"),
    "grad_norm": ("‖∇loss‖₂ over all trainable parameters before clipping", "1"),
    "lr": ("learning rate of the step", "1"),
    "rounded_away": ("share of sampled elements with a gradient whose stored weight did not change", "share"),
    "tokens_per_s": ("packed tokens of the step / its seconds, prompts counted once", "token/s"),
}
"""Every training metric: its formula and its unit."""


def pair_metrics(pairs: PairLogps, *, beta: float) -> dict[str, Metric]:
    """Return accuracy, margin and log-ratios of E pairs (formulas in `TABLE`)."""
    chosen, rejected = pairs.chosen_logratio, pairs.rejected_logratio
    difference = chosen - rejected
    return {
        "accuracy": Metric(_right(difference), "edge"),
        "margin": Metric(beta * difference, "edge"),
        "logratio_chosen": Metric(chosen, "edge"),
        "logratio_rejected": Metric(rejected, "edge"),
        "logratio_chosen_per_token": Metric(chosen / pairs.chosen_length, "edge", pairs.chosen_length),
        "logratio_rejected_per_token": Metric(rejected / pairs.rejected_length, "edge", pairs.rejected_length),
    }


def score_metrics(logps: Logps, batch: PackedBatch) -> dict[str, Metric]:
    """Return a reward model's accuracy, margin and scores (formulas in `TABLE`)."""
    score_S, pairs = scores(logps), scored_pairs(logps, batch)
    difference = pairs.chosen - pairs.rejected
    return {
        "accuracy": Metric(_right(difference), "edge"),
        "margin": Metric(difference, "edge"),
        "score": Metric(score_S, "response"),
        "score_chosen": Metric(pairs.chosen, "edge"),
        "score_rejected": Metric(pairs.rejected, "edge"),
    }


def _right(difference: Tensor) -> Tensor:
    """Return 1 where a pair is ranked as people did, 0 where not, ½ where equal up to rounding."""
    return (torch.sign(difference) * (difference.abs() > EQUAL) + 1) / 2


def decided(metrics: dict[str, Metric], tie: Tensor) -> dict[str, Metric]:
    """Return metrics of E pairs that leave ties out, since no response of a tie is the better one.

    Args:
        metrics: Per-edge metrics.
        tie: Which pairs are ties, bool [E].
    """
    return {
        name: Metric(metric.value, metric.unit, (~tie) * (1.0 if metric.weight is None else metric.weight))
        for name, metric in metrics.items()
    }


def likelihood_metrics(pairs: PairSums) -> dict[str, Metric]:
    """Return accuracies and log-probs of E pairs by the policy alone (formulas in `TABLE`)."""
    return {
        "likelihood_accuracy": Metric(_wins(pairs.chosen - pairs.rejected), "edge"),
        "per_token_accuracy": Metric(_wins(pairs.chosen_mean - pairs.rejected_mean), "edge"),
        "logp_chosen_per_token": Metric(pairs.chosen_mean, "edge", pairs.chosen_length),
        "logp_rejected_per_token": Metric(pairs.rejected_mean, "edge", pairs.rejected_length),
    }


def _wins(difference: Tensor) -> Tensor:
    return (torch.sign(difference) + 1) / 2
