"""A reward model on preference data: does it rank pairs as people did, beside what length alone would say."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..batch.group import Group
from ..batch.needs import Needs
from ..logps.policy import Policy
from ..logps.reference import require_finite
from ..logps.whole import by_group, whole
from ..maths.intervals import Measure
from ..objectives.metrics import score_metrics
from .measure import Scored

NEEDS = Needs(head="score")


def score_measures(policy: Policy, groups: Sequence[Group], *, bin_tokens: int) -> dict[str, Measure]:
    """Return accuracy, margin and scores by the names and formulas of `logratio.metrics`.

    Args:
        policy: Around a reward model.
        groups: Groups with edges.
        bin_tokens: Tokens a forward pass may hold.

    Raises:
        NonFiniteError: A score is NaN or infinite.
    """
    logps = whole(partial(policy, needs=NEEDS), groups, bin_tokens=bin_tokens)
    values, what = by_group(groups, logps)
    require_finite(groups, values, f"evaluation: {what}")
    scored = Scored.whole(groups, logps)
    return {name: scored.measure(name, metric) for name, metric in score_metrics(scored.logps, scored.batch).items()}
