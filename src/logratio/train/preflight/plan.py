"""What a recipe promises: a learning rate of the usual size, and a longest batch that fits."""

from __future__ import annotations

from ... import objectives
from ...findings import Finding, Level
from ..memory import Estimate
from ..opening import Opening
from ..recipe import for_size, learning_rate
from ..units import count, size
from .scene import Scene

TIMES = 10
"""How far above the suggestion a rate is worth a warning."""
_FAR_BELOW = 100


def learning_rate_sane(scene: Scene) -> Finding:
    """Whether the rate is within ten times what is suggested for this objective, adapter and size."""
    return _rate(scene.opening)


def _rate(opening: Opening) -> Finding:
    config, model = opening.config, opening.model
    suggested = objectives.load(config.objective["name"]).suggests.get("train.lr")
    plain = config.model_copy(update={"train": config.train.model_copy(update={"lr": suggested or 1e-6})})
    usual, _ = learning_rate(plain, frozenset(), model.parameters, model.adapter != "none")
    allowed = for_size(usual, model.parameters)
    given = config.train.lr
    kind = "an adapter on " if model.adapter != "none" else ""
    what = f"{config.objective['name']} with {kind}a model of {count(model.parameters)} parameters"
    figures = {"lr": given, "suggested": allowed, "ratio": given / allowed}
    ratio = f"{given:.2g} is {given / allowed:.2g} × the {allowed:.2g} suggested for {what}"
    if given > TIMES * allowed:
        return Finding(
            "learning_rate",
            "look",
            f"train.lr {ratio}: such rates end in repetition while loss and accuracy look perfect.",
            f"Try --lr {allowed:.1g}, or watch the samples of the first evaluations.",
            figures,
        )
    if given * _FAR_BELOW < allowed:
        return Finding(
            "learning_rate",
            "look",
            f"train.lr {ratio}: hardly anything will move.",
            f"Try --lr {allowed:.1g}.",
            figures,
        )
    return Finding("learning_rate", "fine", f"train.lr {ratio}.", figures=figures)


def longest_batch(scene: Scene) -> Finding:
    """Whether the longest bin fits beside weights, gradients and moments, by the itemised estimate."""
    return _fits(scene.opening.estimate, scene.opening.config.train.bin_tokens or 1, scene.longest)


def _fits(estimate: Estimate, bin_tokens: int, longest: int) -> Finding:
    tokens = max(bin_tokens, longest)
    needed = estimate.ahead + estimate.per_token * tokens
    items = {
        "weights": estimate.weights,
        "gathered": estimate.gathered,
        "gradients": estimate.gradients,
        "moments": estimate.moments,
        "second model": estimate.second,
        "moving reference": estimate.moving,
        "values": estimate.value_ahead,
        "head": estimate.head,
        "activations": estimate.per_token * tokens,
    }
    figures: dict[str, float | int | str | None] = {
        f"{name.replace(' ', '_')}_bytes": value for name, value in items.items() if value
    }
    figures |= {"free_bytes": estimate.free, "tokens": tokens}
    listed = ", ".join(f"{name} {size(value)}" for name, value in items.items() if value and name != "weights")
    about = (
        f"the longest bin of {tokens} tokens needs {size(needed)} beside the weights ({listed}), and "
        f"{size(estimate.free)} are free"
    )
    if longest > bin_tokens:
        knob = "lower tokens.max_length (the longest group has a bin of its own), or turn on train.checkpointing"
    else:
        smaller = max(longest, bin_tokens // 2)
        knob = f"set train.bin_tokens to {smaller}, which changes no gradient, or turn on train.checkpointing"
    if needed <= 0.9 * estimate.free:
        return Finding("longest_batch", "fine", f"By estimate {about}.", figures=figures)
    # The estimate errs by some tens of percent either way, so that just above the limit it does not decide.
    level: Level = "stop" if needed > 1.5 * estimate.free else "look"
    return Finding("longest_batch", level, f"By estimate {about}.", f"{knob[0].upper()}{knob[1:]}.", figures)
