"""Which distribution is the reference, and its log-probs of a run's groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial

import torch

from ..batch.group import Group
from ..config import RunConfig
from ..errors import ConfigError, ReferenceChoiceError
from ..logps.checked import checked_values
from ..logps.policy import Policy
from ..logps.reference import ReferenceCache, ReferenceValues
from ..models.adapters import reference_view
from ..models.load import Loaded, load_model, stored_fingerprint
from .distributed import World, reshard
from .memory import within_memory
from .onpolicy import model_judges


def describe_reference(config: RunConfig, model: Loaded) -> str:
    """Return what the reference is, in words.

    Raises:
        ReferenceChoiceError: A contradiction; lists the choices.
    """
    if config.reference == "start":
        return {
            "none": f"{model.name} as loaded, before the first step",
            "fresh": f"{model.base} with the fresh adapter off",
            "loaded": f"{model.name}: the loaded adapter as it is now, frozen",
        }[model.adapter]
    if config.reference != "base":
        return f"{config.reference}, a model of its own"
    if model.adapter == "none":
        raise ReferenceChoiceError(
            f"reference: base means the weights under an adapter, and {model.name} has none; choose reference: start "
            "(the model as loaded), lora with base, or reference: PATH of another model."
        )
    return f"{model.base}, the weights under the adapter"


@contextmanager
def live_reference(config: RunConfig, model: Loaded, policy: Policy, *, bf16: bool) -> Iterator[Policy]:
    """Yield the reference as a policy: the adapter off or switched, or a second model that is freed afterwards.

    Without an adapter, "start" is read again from its source, so this works at any step.
    """
    if config.reference in ("start", "base") and model.adapter != "none":
        with reference_view(model, "base" if config.reference == "base" else "start"):
            yield policy
            reshard(policy)  # so that what requires gradients is put back on the weights that are trained
        return
    name = config.model if config.reference == "start" else config.reference
    other = load_model(name, dtype=torch.bfloat16 if bf16 else torch.float32, frozen=True)
    other.model.to(next(policy.parameters()).device)
    yield Policy(other.model, path=policy.path).eval()


def require_at_hand(config: RunConfig, model: Loaded, world: World, *, given: bool, divergence: bool) -> None:
    """Refuse what leaves no live reference beside the policy at every step.

    Args:
        config: The recipe.
        model: What is trained.
        world: The processes.
        given: Whether the model was given as an object, which cannot be read again.
        divergence: Whether the objective reads the divergence from it; otherwise fresh responses need it.

    Raises:
        ConfigError: There are several processes, or no second copy of the model can be had.
    """
    reads = f"objective {config.objective['name']} reads the reference's whole distribution at each token"
    if not divergence:
        reads = f"objective {config.objective['name']} reads the reference's log-probs of responses as they are drawn"
    if world.size > 1:
        raise ConfigError(
            f"{reads}, which is at hand on one process only, and there are {world.size}; start one process, or choose "
            "an objective that reads log-probs alone."
        )
    if given and model.adapter == "none" and config.reference == "start" and config.reference_sync.every is None:
        raise ConfigError(
            f"{reads}, and a model given as an object cannot be read again as its own reference; give the model by "
            "name or with an adapter, or set reference: PATH."
        )


def standing_reference(
    config: RunConfig, model: Loaded, policy: Policy, *, bf16: bool
) -> Callable[[], AbstractContextManager[Policy]]:
    """Return the reference while a run goes on: the adapter off or switched, or a second model kept in memory.

    With `rollout.offload` that model is read again whenever it is asked, and freed.

    Raises:
        ConfigError: Nothing is there to be offloaded.
    """
    offload = config.rollout is not None and config.rollout.offload
    switched = config.reference in ("start", "base") and model.adapter != "none"
    if offload and switched and not model_judges(config):
        raise ConfigError(
            f"rollout.offload is true, but {model.name} without its adapter is the reference, and no model judges, so "
            "that there is nothing to take out of memory; leave it out."
        )
    if offload or switched:
        return partial(live_reference, config, model, policy, bf16=bf16)
    with live_reference(config, model, policy, bf16=bf16) as second:
        return lambda: nullcontext(second)


@contextmanager
def _scorer(config: RunConfig, model: Loaded, policy: Policy, *, bf16: bool) -> Iterator[Policy]:
    """Yield the reference before the first step, when the policy's own weights still are those of `start`."""
    if config.reference == "start" and model.adapter == "none":
        yield policy
    else:
        with live_reference(config, model, policy, bf16=bf16) as reference:
            yield reference


@dataclass(frozen=True)
class ReferencePass:
    """Fills the reference cache for one run's groups.

    Attributes:
        config: The resolved recipe, its micro-batch budget included.
        model, policy: What is trained.
        world: The processes.
        bf16: Whether products are in bfloat16.
        on_block: Told (blocks done, blocks in all).
        warn: Told a sentence.
        on_spot: Told how far a few log-probs computed once more are off, and how far is rounding, nats.
    """

    config: RunConfig
    model: Loaded
    policy: Policy
    world: World
    bf16: bool
    on_block: Callable[[int, int], None]
    warn: Callable[[str], None]
    on_spot: Callable[[float, float], None] = lambda off, allowed: None

    @cached_property
    def cache(self) -> ReferenceCache:
        """The cache that belongs to this reference; a model of its own is named by its files, and not loaded."""
        own = self.config.reference in ("start", "base")
        fingerprint = self.model.fingerprint if own else stored_fingerprint(self.config.reference)
        view = "base" if self.config.reference == "base" and self.model.adapter == "loaded" else "whole"
        return ReferenceCache.of(self.policy, fingerprint, view=view, bf16=self.bf16)

    def values(self, groups: Sequence[Group]) -> ReferenceValues:
        """Return log-probs of all groups; what the cache holds is checked on a few and made again if it is wrong.

        Raises:
            ModelError: Twice the same rows give different numbers.
        """
        bins = self.config.train.bin_tokens or 1
        scorer = _scorer(self.config, self.model, self.policy, bf16=self.bf16)
        with within_memory("reference pass", groups, bins), scorer as reference:
            return checked_values(
                self.cache,
                reference,
                groups,
                bin_tokens=bins,
                bf16=self.bf16,
                ranks=(self.world.rank, self.world.size),
                any_rank=self.world.any,
                on_block=self.on_block,
                warn=self.warn,
                on_spot=self.on_spot,
            )
