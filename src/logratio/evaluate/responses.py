"""Measures of data that is no pair: demonstrations, and responses labelled good or bad."""

from __future__ import annotations

from collections.abc import Sequence

from ..batch.group import Floats, Group
from ..maths.intervals import Measure
from ..objectives import views
from ..objectives.metrics import Metric
from .measure import Scored


def response_measures(
    groups: Sequence[Group], policy: Sequence[Floats], reference: Sequence[Floats] | None
) -> dict[str, Measure]:
    """Return loss per token; with a reference the log-ratio per token; with labels the log-ratio of good and of bad.

    Args:
        groups: The data; the response column `label` is 1 for good, 0 for bad.
        policy: Scored log-probs under the policy, one array a group.
        reference: The same under the reference, or None.
    """
    nll = {"nll_per_token": Metric(-Scored.of(groups, policy).logps.policy_R, "token")}
    if reference is None:
        scored = Scored.of(groups, policy)
        return {name: scored.measure(name, metric) for name, metric in nll.items()}
    groups = [group.with_columns(token={"reference": own}) for group, own in zip(groups, reference, strict=True)]
    scored = Scored.of(groups, policy)
    seen = views.responses(scored.logps, scored.batch)
    length_S = seen.length.double()
    metrics = {**nll, "logratio_per_token": Metric(seen.logratio / length_S, "response", length_S)}
    label_S = scored.batch.response.get("label")
    if label_S is not None:
        metrics["logratio_desirable"] = Metric(seen.logratio, "response", label_S)
        metrics["logratio_undesirable"] = Metric(seen.logratio, "response", 1 - label_S)
    return {name: scored.measure(name, metric) for name, metric in metrics.items()}
