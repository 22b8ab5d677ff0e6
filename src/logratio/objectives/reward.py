"""A reward model of Bradley and Terry: one number for each response, whose differences are log-odds of preference."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from ..batch.logps import Logps
from ..batch.needs import Needs
from ..batch.packed import PackedBatch
from . import views
from .base import Objective, Settings, Term
from .facts import Facts, Shift
from .metrics import Metric, score_metrics


class RewardSettings(Settings):
    """Settings of `reward`."""

    centring: float = Field(0.01, ge=0, description="η: pulls the two scores of a pair towards a mean of 0; 0: not")
    margin_scale: float = Field(0.0, ge=0, description="lead asked for per unit of the data's `margin`; 0: none")


def reward(pairs: views.ScoredPairs, margin: Tensor, *, centring: float, margin_scale: float) -> Tensor:
    """Logistic loss on the difference of two responses' scores.

        ℓ = −log σ(r⁺ − r⁻ − s·margin) + η·(r⁺ + r⁻)²

    s = η = 0: the likelihood of Bradley–Terry preferences (Ouyang et al. 2022, arXiv:2203.02155, Eq. 1), which fixes
    scores up to a constant for each prompt. η > 0 takes that constant out, so that scores of different prompts share a
    scale (Eisenstein et al. 2023, arXiv:2312.09244, Eq. 4, η = 0.01). s > 0 asks for a wider lead where the preference
    is strong (Touvron et al. 2023, arXiv:2307.09288, Eq. 2, whose strengths are 0 to 1 or 0 to 3); r then no longer is
    a log-odds. Data without any margin are refused where s > 0.

    The step's loss is a mean over all its comparisons, in which every comparison of a prompt is (`rows.group_by_prompt`
    is on: responses are encoded once, and no prompt is spread over steps). Ouyang et al. average within each prompt
    first: the same where prompts have equally many, else prompts with more count for more here; a weight of 1/n on a
    prompt's n comparisons gives theirs.

    Args:
        pairs: Scores at E edges, float32 [E].
        margin: Strength of each preference, [E]; of a soft label, whichever way it goes.
        centring: η ≥ 0.
        margin_scale: s ≥ 0.

    Returns:
        Loss per edge, [E]; ln 2 where two scores are 0 and no margin is asked for.
    """
    difference = pairs.chosen - pairs.rejected
    return softplus(margin_scale * margin - difference) + centring * (pairs.chosen + pairs.rejected).square()


def _losses(logps: Logps, batch: PackedBatch, settings: RewardSettings) -> Mapping[str, Tensor]:
    scored = views.scored_pairs(logps, batch)
    margin = batch.edge["margin"].to(scored.chosen)
    return {"reward": views.expected(scored, lambda pairs: reward(pairs, margin, **settings.model_dump()))}


def _metrics(logps: Logps, batch: PackedBatch, settings: RewardSettings) -> Mapping[str, Metric]:
    return score_metrics(logps, batch)


def _lost(settings: RewardSettings) -> frozenset[Shift]:
    return frozenset({"policy"}) if settings.centring else frozenset()


OBJECTIVE = Objective(
    summary="Bradley–Terry reward model: a score for each response, at its last token",
    formula="−log σ(r⁺ − r⁻ − s·margin) + η·(r⁺ + r⁻)², r the scalar head at a response's last token, mean over pairs",
    source="Ouyang et al. 2022 (arXiv:2203.02155), Eq. 1; centring: arXiv:2312.09244; margin: arXiv:2307.09288, Eq. 2",
    data="pairs",
    settings=RewardSettings,
    terms=lambda settings: {"reward": Term("edge")},
    losses=_losses,
    metrics=_metrics,
    needs=lambda settings: Needs(head="score", margin=settings.margin_scale > 0),
    suggests={"train.lr": 9e-6, "train.schedule": "cosine", "train.batch_size": 64, "rows.group_by_prompt": True},
    suggested_by="Ouyang et al. 2022, appendix C.2: 64 prompts a step with all their comparisons, one epoch",
    facts=Facts(
        invariant=frozenset({"policy"}),
        lost=_lost,
        curve="decreasing",
        swap=lambda settings: 1.0,
        variants=({"centring": 0.0}, {"margin_scale": 0.5}),
        population=False,
    ),
)
