"""Where a change lies, in words and as heat maps: local or spread over the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..findings import Drawing, Figure, Finding
from ..maths.intervals import Measure
from .restore import OUTSIDE, Moved

LOCAL, SPREAD = 0.25, 0.6
"""Shares of the layers up to which a change is local, and from which on it is spread, by its participation ratio."""

HALF = 0.5


@dataclass(frozen=True)
class Costs:
    """What putting back the reference's weights costs of the mean held-out margin.

    Attributes:
        layers: Layer → cost of restoring it alone; unchanged ones left out.
        blocks: Layer → block → cost of restoring that alone.
        left: Layer → margin left once it and all before it are restored; the last one's is what no weight explains.
        total: Layers that the model has.
    """

    layers: Mapping[str, Measure]
    blocks: Mapping[str, Mapping[str, Measure]]
    left: Mapping[str, float]
    total: int

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "layers": {layer: cost.to_json() for layer, cost in self.layers.items()},
            "blocks": {
                layer: {block: cost.to_json() for block, cost in own.items()} for layer, own in self.blocks.items()
            },
            "left": dict(self.left),
        }


def participation(values: Sequence[float]) -> float:
    """Return (Σv)²/Σv² of values ≥ 0: how many of them take part; 1 for a single one, n where all are equal."""
    square = sum(value**2 for value in values)
    return sum(values) ** 2 / square if square else 0.0


def extent(values: Mapping[str, float], layers: int) -> str:
    """Say whether what the layers hold is local or spread: by their number that takes part, and those with half of it.

    Args:
        values: Layer → what it holds, ≥ 0, not all 0.
        layers: Layers that there are.
    """
    taking = participation(list(values.values()))
    word = "local" if taking <= max(1.25, LOCAL * layers) else "spread" if taking >= SPREAD * layers else "uneven"
    holding, rest = [], HALF * sum(values.values())
    for layer, value in sorted(values.items(), key=lambda item: -item[1]):
        if rest <= 0:
            break
        holding.append(layer)
        rest -= value
    return f"{word}: {taking:.1f} of {layers} layers take part, and {_listed(holding)} hold{_s(holding)} half of it"


def weight_finding(change: Mapping[str, Mapping[str, Moved]]) -> Finding:
    """Say how far weights moved, by layer and module.

    Args:
        change: Layer → module → how far.
    """
    layers = {layer: sum(modules.values(), Moved()) for layer, modules in change.items()}
    total = sum(layers.values(), Moved())
    if not total.change:
        return Finding("weight_change", "note", "No weight differs from the reference's.", "", {"relative_change": 0.0})
    inner = {layer: own.change for layer, own in layers.items() if layer != OUTSIDE}
    far = [
        (own.relative, module, layer)
        for layer, modules in change.items()
        for module, own in modules.items()
        if own.relative is not None
    ]
    most, module, layer = max(far)
    figures: dict[str, Figure] = {
        "relative_change": total.relative,
        "participating_layers": participation(list(inner.values())),
        "layers": len(inner),
        "share_outside_layers": layers.get(OUTSIDE, Moved()).change / total.change,
        "largest_relative_change": most,
    }
    where = f" In squares it is {extent(inner, len(inner))}." if any(inner.values()) else ""
    says = f"Weights moved by {total.relative:.2%} of their norm, most {layer}'s {module} ({most:.2%}).{where}"
    modules = list(dict.fromkeys(module for own in change.values() for module in own))
    drawing = Drawing(
        kind="heat",
        title="Change of weights, ‖W − W_ref‖/‖W_ref‖",
        x_label="module",
        y_label="",
        x=modules,
        series={layer: [own[m].relative if m in own else None for m in modules] for layer, own in change.items()},
        note="Frobenius norms; adapters merged. Gaps are modules that a layer does not have, or that were 0.",
    )
    return Finding("weight_change", "note", says, "", figures, drawing)


def cost_finding(margin: Measure, costs: Costs | None) -> Finding:
    """Say what putting back each part of the reference costs.

    Args:
        margin: Mean held-out margin with everything in place.
        costs: Of restoring; None where there is no margin.
    """
    figures: dict[str, Figure] = {"margin": margin.mean, "margin_low": margin.low, "margin_high": margin.high}
    if costs is None or margin.mean is None or not costs.layers:
        says = f"The held-out margin is {margin.mean or 0.0:.3g}, not surely above 0, so no part of the model holds it."
        return Finding("margin_by_layer", "note", says, "", figures)
    held = {layer: max(0.0, cost.mean or 0.0) for layer, cost in costs.layers.items() if layer != OUTSIDE}
    layer, cost = max(costs.layers.items(), key=lambda item: item[1].mean or 0.0)
    figures |= {
        "pairs": margin.n,
        "participating_layers": participation(list(held.values())),
        "layers": costs.total,
        "largest_cost_share": (cost.mean or 0.0) / margin.mean,
        "sum_of_single_costs_share": sum(c.mean or 0.0 for c in costs.layers.values()) / margin.mean,
        "left_when_all_restored": list(costs.left.values())[-1],
    }
    ends = (
        ""
        if cost.low is None or cost.high is None
        else f" [{cost.low / margin.mean:.0%}, {cost.high / margin.mean:.0%}]"
    )
    where = f" The margin is {extent(held, costs.total)}." if any(held.values()) else ""
    says = (
        f"Of the held-out margin {margin.mean:.3g}, putting back one layer at a time costs most in {layer}: "
        f"{(cost.mean or 0.0) / margin.mean:.0%}{ends}.{where}"
    )
    return Finding("margin_by_layer", "note", says, "", figures, _heat(costs))


def _heat(costs: Costs) -> Drawing:
    blocks = list(dict.fromkeys(block for own in costs.blocks.values() for block in own))
    whole = "whole layer"
    return Drawing(
        kind="heat",
        title="Held-out margin lost where the reference's weights are put back",
        x_label="part put back",
        y_label="",
        x=[*blocks, whole],
        series={
            layer: [*(own[block].mean if block in own else None for block in blocks), costs.layers[layer].mean]
            for layer, own in costs.blocks.items()
        },
        note="Each part alone, all others as trained. Costs need not add up: layers can stand in for each other, or "
        "work only together.",
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _s(names: Sequence[str]) -> str:
    return "s" if len(names) == 1 else ""
