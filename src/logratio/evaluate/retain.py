"""Did training break what the model knew? Loss per token on texts, before and after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..batch.group import Floats
from ..maths.intervals import NOTHING, Measure, mean_interval


def retain_measures(before: Sequence[Floats] | None, after: Sequence[Floats]) -> dict[str, Measure]:
    """Return loss per token under both models, and the paired difference.

        retain_before, retain_after   −Σ log p / tokens, nats a token
        retain_change                 Σ (log p_before − log p_after) / tokens; above 0: worse than before

    The difference is taken text by text, so its interval is far narrower than those of the two losses suggest.

    Args:
        before: Scored log-probs of each text under the reference; None where there is none.
        after: The same texts under the policy, in the same order.
    """
    lengths = [len(values) for values in after]
    measures = {"retain_after": _per_token([-values for values in after], lengths)}
    if before is None:
        return {"retain_before": NOTHING, **measures, "retain_change": NOTHING}
    return {
        "retain_before": _per_token([-values for values in before], lengths),
        **measures,
        "retain_change": _per_token([old - new for old, new in zip(before, after, strict=True)], lengths),
    }


def _per_token(values: Sequence[Floats], lengths: Sequence[int]) -> Measure:
    means = [float(own.astype(np.float64).mean()) if len(own) else 0.0 for own in values]
    return mean_interval(means, weights=lengths)
