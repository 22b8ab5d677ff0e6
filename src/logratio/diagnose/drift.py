"""Drift off the data's support: the policy leaves the responses it learns from, or never could have written them."""

from __future__ import annotations

from ..findings import Finding
from . import limits
from .history import History, Point
from .outcomes import outcome
from .show import lines, number

NAME = "drift"


def drift(history: History) -> Finding | None:
    """Return whether the data's responses are improbable from the start, or became so."""
    chosen, rejected = history.held("logp_chosen_per_token"), history.held("logp_rejected_per_token")
    if not chosen or not rejected:
        return None
    data = {"chosen": chosen, "rejected": rejected}
    own = [(step, _negative(point)) for step, point in history.held("entropy_per_token")]
    drawing = lines(
        "Log-prob of the data's responses under the policy",
        "nat/token",
        {**data, **({"own samples": own} if own else {})},
        "Where the data lies far below the policy's own samples, the policy learns about texts that it does not write.",
    )
    (_, first), (_, last) = chosen[0], chosen[-1]
    gap = own[0][1].mean - first.mean if own else None
    fell = min(line[0][1].mean - line[-1][1].mean for line in data.values())
    figures = {"fell_nat_per_token": fell, "off_support_nat_per_token": gap}
    causes = []
    if gap is not None and gap > limits.OFF_SUPPORT:
        causes.append(
            f"before the first step the data's responses are {number(gap)} nat/token less probable than what the model "
            "writes itself"
        )
    if fell > limits.DRIFTED:
        causes.append(f"both responses became less probable by {number(fell)} nat/token or more")
    if not causes:
        says = f"The data's chosen responses are at {last.mean:.2f} nat/token, {first.mean:.2f} at the start."
        return Finding(NAME, "fine", says, figures=figures, drawing=drawing)
    result = outcome(history)
    says = "; ".join(causes)
    says = f"{says[:1].upper()}{says[1:]}, {result.words}"
    if result.bad or (fell > limits.FAR_DRIFTED and not result.judged):
        remedy = (
            "Train on chosen responses first (objective sft), or use pairs that this model wrote; while drifting, "
            f"lower train.lr{history.about.nearer(', ')} or add objective.sft_weight."
        )
        return Finding(NAME, "look", f"{says}.", remedy, figures, drawing)
    normal = "normal in DPO on pairs from another model, or when both answers of a pair are given up for better ones"
    return Finding(NAME, "note", f"{says}: {normal}.", "", figures, drawing)


def _negative(point: Point) -> Point:
    return Point(-point.mean, point.se, point.n)
