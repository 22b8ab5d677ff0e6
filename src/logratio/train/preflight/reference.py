"""The reference is what it is called: equal to the policy where it should be, apart from it in memory, well cached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from ...batch.group import Group
from ...findings import Finding
from ..distributed import local
from ..values import PREFIX
from .scene import Scene, difference


def reference_at_start(scene: Scene) -> Finding:
    """Whether policy and reference give the same log-probs before the first step, where they are the same weights."""
    name, config = "reference_at_start", scene.opening.config
    if not scene.learner.needs.reference:
        return Finding(name, "fine", f"Objective {config.objective['name']} reads no reference.")
    groups = scene.learner.with_reference(scene.few)
    values = np.concatenate([group.columns.token["reference"] for group in groups])
    off = difference(scene.first, values)
    figures = {"largest_difference_nat": off, "tolerance_nat": scene.tolerance, "noise_nat": scene.noise}
    same = config.reference == "start" or (config.reference == "base" and scene.opening.model.adapter == "fresh")
    about = f"{off:.2g} nat on {len(values)} tokens (tolerance {scene.tolerance:.2g})"
    if same and off <= scene.tolerance:
        return Finding(name, "fine", f"Policy and reference agree at step 0 within {about}.", figures=figures)
    if same:
        return Finding(
            name,
            "stop",
            f"Policy and reference are the same weights and differ by {about}: their log-probs come from different "
            "tokens, weights or code, and every log-ratio would carry that difference.",
            f"Check that reference: {config.reference} is what is meant ({scene.opening.reference}), and clear cached "
            "log-probs with `logratio cache --prune`.",
            figures,
        )
    if off > scene.tolerance:
        says = f"The reference is another distribution than the policy, as asked for: they differ by {about}."
        return Finding(name, "fine", says, figures=figures)
    return Finding(
        name,
        "look",
        f"The reference ({scene.opening.reference}) was to be another distribution and equals the policy: {about}.",
        "If that was not meant, check the path of the reference, or that the adapter holds trained weights.",
        figures,
    )


def reference_storage(scene: Scene) -> Finding:
    """Whether a reference held in memory has weights of its own, and what it shares with the policy is frozen."""
    name = "reference_storage"
    trained = {_storage(part) for slot in scene.optimizer.slots for part in (slot.weight, slot.master)} - {0}
    held = dict(_held(scene))
    shared = sorted(which for which, weight in held.items() if _storage(weight) in trained)
    figures: dict[str, float | int | str | None] = {"held": len(held), "shared": len(shared)}
    if shared:
        return Finding(
            name,
            "stop",
            f"No learning signal: {len(shared)} of {len(held)} weights of the reference share storage with the policy "
            f"({', '.join(shared[:3])}), so that it moves along and every log-ratio stays 0.",
            "Give the reference a copy of its own; where the model was passed as an object, pass its name instead.",
            figures,
        )
    model = scene.opening.model
    loose = [slot.name for slot in scene.optimizer.slots if model.adapter != "none" and not _of_adapter(slot.name)]
    if loose and scene.learner.needs.reference and scene.opening.config.reference in ("start", "base"):
        return Finding(
            name,
            "look",
            f"{len(loose)} weights outside the adapter are trained too ({', '.join(loose[:3])}); with the adapter off, "
            "the reference would have them as they are by then.",
            "Freeze them, or list them in the adapter's modules_to_save.",
            figures,
        )
    if held:
        says = f"The reference holds {len(held)} weights of its own, apart from the policy's."
    else:
        says = "The reference holds no weights of its own: its log-probs are kept, or none are read."
    return Finding(name, "fine", says, figures=figures)


def reference_cache(scene: Scene) -> Finding:
    """What computing a few of the cached log-probs once more found, as it did when the cache was opened."""
    name = "reference_cache"
    if scene.spot is None:
        return Finding(name, "fine", "No reference log-probs are read from the cache.")
    off, allowed = scene.spot
    figures = {"largest_difference_nat": off, "tolerance_nat": allowed}
    if off <= allowed:
        says = f"Cached log-probs of up to 3 groups, computed again, differ by {off:.2g} nat (at most {allowed:g})."
        return Finding(name, "fine", says, figures=figures)
    return Finding(
        name,
        "stop",
        f"Cached reference log-probs are off by {off:.2g} nat (at most {allowed:g} is rounding).",
        "Remove them with `logratio cache --prune`, and run again.",
        figures,
    )


def reference_pass(scene: Scene, few: Sequence[Group]) -> Finding:
    """Whether the pass over all groups gave the few the log-probs that they had by themselves.

    Args:
        scene: The run, with the few as they were scored before the pass.
        few: The same groups as the steps read them.
    """
    name = "reference_pass"
    if "reference" not in few[0].columns.token:
        return Finding(name, "fine", "No reference log-probs are computed ahead of the steps.")
    read, known = (np.concatenate([group.columns.token["reference"] for group in own]) for own in (few, scene.few))
    off = difference(read, known)
    figures = {"largest_difference_nat": off, "tolerance_nat": scene.bound, "compared": len(known)}
    about = f"{off:.2g} nat on {len(known)} tokens (tolerance {scene.bound:.2g})"
    if off <= scene.bound:
        says = f"Reference log-probs from the whole pass and of a few groups by themselves agree within {about}."
        return Finding(name, "fine", says, figures=figures)
    return Finding(
        name,
        "stop",
        f"Reference log-probs from the whole pass and of the same few groups by themselves differ by {about}.",
        "Clear cached log-probs with `logratio cache --prune`, and report it with the model's name if it comes again.",
        figures,
    )


def _held(scene: Scene) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights that the reference has to itself, by name."""
    learner = scene.learner
    for name, weight in learner.policy.model.named_parameters():
        if ".reference." in f"{name}.":
            yield name, weight
    if learner.moving is not None:
        yield from learner.moving.held().items()
    elif learner.live is not None:
        with learner.live() as other:
            if other is not learner.policy:
                yield from other.model.named_parameters()


def _of_adapter(name: str) -> bool:
    return "lora_" in name or "modules_to_save" in name or name.startswith(PREFIX)  # values are no log-probs


def _storage(weight: Tensor) -> int:
    return int(local(weight.detach()).untyped_storage().data_ptr())
