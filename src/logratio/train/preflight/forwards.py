"""Log-probs are those of the responses, whatever stands beside them."""

from __future__ import annotations

import torch

from ...findings import Finding
from .scene import Scene, difference, singles

_PADS = 29


def two_forwards(scene: Scene) -> Finding:
    """Whether the same batch has the same log-probs twice, in training mode, where a live dropout would act."""
    with scene.training():
        off = difference(scene.floats(scene.few), scene.first)
    exact = scene.computes_in in (torch.float32, torch.float64)
    tolerance = 0.0 if exact else scene.tolerance
    return _judged(
        scene,
        "two_forwards",
        off,
        tolerance,
        "two forward passes of one batch",
        "something in the model draws random numbers, as a dropout or jitter that is not 0",
        "set every dropout of the model's config to 0, or train another model.",
    )


def batch_order(scene: Scene) -> Finding:
    """Whether the order of groups in the row matters; what it does to rounding is the noise of the other checks."""
    return _judged(
        scene,
        "batch_order",
        scene.noise,
        scene.bound,
        "groups in two orders in the packed row",
        "a group sees what stands before it",
        "use train.path: plain, and report it with the model's name.",
    )


def packing(scene: Scene) -> Finding:
    """Whether a group's log-probs are the same alone and among others."""
    return _judged(
        scene,
        "packing",
        difference(scene.floats(scene.few, apart=True), scene.first),
        scene.tolerance,
        "groups alone and packed together",
        "a group sees its neighbours in the batch",
        "use train.path: plain, and report it with the model's name.",
    )


def prefix_sharing(scene: Scene) -> Finding:
    """Whether a response behind a prompt that it shares has the log-probs of one with a prompt of its own."""
    return _judged(
        scene,
        "prefix_sharing",
        difference(scene.floats(singles(scene.few)), scene.first),
        scene.tolerance,
        "responses with a prompt of their own and with a shared one",
        "a response sees its sibling, or stands at another position",
        "use train.path: plain, and report it with the model's name.",
    )


def padding(scene: Scene) -> Finding:
    """Whether pads change log-probs: behind the packed row, or, on the plain path, beside shorter rows."""
    plain = scene.learner.policy.path == "plain"
    if plain:
        values = scene.floats(singles(scene.few), apart=True)
    else:
        values = scene.floats(scene.few, pads=_PADS)
    return _judged(
        scene,
        "padding",
        difference(values, scene.first),
        scene.tolerance,
        "rows without pads and with them" if plain else f"the packed row and the same with {_PADS} pads behind it",
        "pads are seen or scored",
        "report it with the model's name; until then train with rows of one length.",
    )


def _judged(scene: Scene, name: str, off: float, tolerance: float, what: str, cause: str, remedy: str) -> Finding:
    unit = "nat" if scene.learner.needs.head == "lm" else "score"
    figures = {
        f"largest_difference_{unit}": off,
        f"tolerance_{unit}": tolerance,
        f"noise_{unit}": scene.noise if name != "two_forwards" else None,
        "compared": len(scene.first),
    }
    compared = f"on {len(scene.first)} {'tokens' if unit == 'nat' else 'responses'}"
    if off <= tolerance:
        says = f"{what} agree within {off:.2g} {unit} {compared} (tolerance {tolerance:.2g})."
        return Finding(name, "fine", _sentence(says), figures=figures)
    says = f"{what} differ by {off:.2g} {unit} {compared} (tolerance {tolerance:.2g}): {cause}."
    return Finding(name, "stop", _sentence(says), remedy, figures)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
