"""A reference that follows the policy (TR-DPO): a second set of the trained weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ..batch.group import Group
from ..batch.needs import Needs
from ..config import SyncConfig
from ..logps.policy import Policy
from ..logps.reference import require_finite
from ..logps.whole import by_group, whole
from .distributed import World, local, part_of, reshard
from .distributed import whole as gathered
from .optim import Optimizer
from .values import PREFIX as VALUES

PREFIX = "reference/"
"""How the names of its weights begin in a checkpoint."""


class MovingReference:
    """The reference's own values of the trained weights; the frozen ones it shares with the policy.

        π_ref ← α·π_θ + (1 − α)·π_ref, weight by weight, after every τ steps

    Gorbatovski et al. 2024 (arXiv:2404.09656); suggested there: τ 512 with α 1, or α 0.6, and DPO's β 0.05. Under LoRA
    the weights are A and B, so that below α = 1 what is averaged is these and not their product.

    It begins as the policy does. To be asked, its values are put into the policy's model and taken out again, so that
    it works in every layout of weights: adapters, bfloat16 copies, shards. With α = 1 they are kept in what the model
    computes in; otherwise in float32 at least, in which the average is made.

    Args:
        policy: The model that is trained.
        optimizer: Its trainable weights.
        sync: τ, which is given, and α.
        world: The processes; each holds its share of every weight.
        begins: Whether a phase begins with a step, counted from 0; given where that is when it moves.
    """

    def __init__(
        self,
        policy: Policy,
        optimizer: Optimizer,
        sync: SyncConfig,
        world: World,
        begins: Callable[[int], bool] = lambda index: False,
    ) -> None:
        self.every, self.alpha, self._begins = sync.every or 0, sync.alpha, begins
        self._policy, self._optimizer, self._world = policy, optimizer, world
        self._slots = [slot for slot in optimizer.slots if not slot.name.startswith(VALUES)]  # it is asked for none
        self._weights = {slot.name: slot.weight.detach().clone() for slot in self._slots}
        if self.alpha < 1:
            for slot in self._slots:
                start = slot.weight if optimizer.stochastic else slot.master
                self._weights[slot.name] = start.detach().to(_wide(start.dtype), copy=True)

    def follow(self, index: int) -> None:
        """Move before step `index`, counted from 0, if that is due; the reference of a step then also evaluates it."""
        due = self._begins(index) if isinstance(self.every, str) else index % self.every == 0
        if index == 0 or not due:
            return
        for slot in self._slots:
            own = local(self._weights[slot.name])
            if self.alpha == 1:
                own.copy_(local(slot.weight.detach()))
            else:
                own.lerp_(local(self._optimizer.kept(slot).detach()).to(own.dtype), self.alpha)

    @contextmanager
    def live(self) -> Iterator[Policy]:
        """Yield the policy with the reference's weights in it; afterwards it has its own again, bit for bit."""
        weights = [local(slot.weight.detach()) for slot in self._slots]
        held = [weight.clone() for weight in weights]
        try:
            for weight, other in zip(weights, self._weights.values(), strict=True):
                weight.copy_(local(other))
            reshard(self._policy)  # or what other ranks gathered would stay the policy's
            yield self._policy
        finally:
            for weight, own in zip(weights, held, strict=True):
                weight.copy_(own)
            reshard(self._policy)

    def attach(self, groups: Sequence[Group], *, bin_tokens: int, temperature: float = 1.0) -> list[Group]:
        """Return the groups with the reference's log-probs as it is now; ranks share the work and all get the result.

        The bins are those of a step's gradient, so that where reference and policy are the same weights, their
        log-probs are the same bits.

        Raises:
            NonFiniteError: A log-prob is NaN or infinite.
        """
        ranks, gather = (self._world.rank, self._world.size), self._world.gather
        needs = Needs(temperature=temperature)
        with self.live() as reference:
            logps = whole(
                lambda batch: reference(batch, needs), groups, bin_tokens=bin_tokens, ranks=ranks, gather=gather
            )
        values, _ = by_group(groups, logps)
        require_finite(groups, values, "reference log-prob")
        return [group.with_columns(token={"reference": own}) for group, own in zip(groups, values, strict=True)]

    def held(self) -> Mapping[str, Tensor]:
        """Return its weights by name, this process's share."""
        return self._weights

    def state(self) -> dict[str, Tensor]:
        """Return its weights as full tensors on the CPU, by `reference/NAME`; all ranks take part."""
        return {f"{PREFIX}{name}": gathered(value).cpu().contiguous() for name, value in self._weights.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned, on any number of ranks."""
        for name, value in self._weights.items():
            value.copy_(part_of(state[f"{PREFIX}{name}"], value))


def weight_bytes(sync: SyncConfig, computes_in: int, *, in_bins: bool) -> int:
    """Return the bytes that a moving reference takes per trained weight, 0 where none moves.

    Args:
        sync: Whether it moves, and how.
        computes_in: Bytes of a weight that the model computes with.
        in_bins: Whether it is asked while gradients are in memory; otherwise the policy's values, set aside meanwhile,
            take no more than the gradients will.
    """
    if sync.every is None:
        return 0
    return (computes_in if sync.alpha == 1 else 4) + (computes_in if in_bins else 0)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
