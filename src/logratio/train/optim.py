"""Weights in float32 whatever the products are in: masters, accumulated gradients, moments, rounding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import MissingExtraError
from ..logps.adding import add_narrow
from ..maths.counter import stream
from .distributed import local, part_of, whole

SAMPLED = 2048
"""Elements of each tensor that are watched for updates lost to rounding."""

Kind = Literal["adamw", "adamw_8bit", "rmsprop"]


@dataclass
class Slot:
    """A trainable weight.

    Attributes:
        name: As the model names it.
        weight: What the model computes with.
        master: What the optimiser updates, float32: the weight itself where that is float32. With stochastic rounding
            it holds a value only while it is being updated.
        summed: Gradient added up over bins in float32, where the weight is not its own master. On a CPU its memory is
            that of the step before, unless it was released: fresh memory takes up to twenty times as long to fill.
        arrived: Whether it holds anything of this step.
    """

    name: str
    weight: nn.Parameter
    master: nn.Parameter
    summed: Tensor | None = None
    arrived: bool = False

    @property
    def gradient(self) -> Tensor | None:
        """The step's gradient so far, float32."""
        if self.weight is self.master:
            return self.weight.grad
        return self.summed if self.arrived else None

    def collect(self, _: Tensor) -> None:
        """Move a gradient that has just arrived into the float32 sum."""
        gradient = self.weight.grad
        if gradient is None:
            return
        if self.summed is None:
            self.summed = gradient.float()
        elif self.arrived:
            add_narrow(self.summed, gradient)
        else:
            self.summed.copy_(gradient)
        self.weight.grad, self.arrived = None, True

    def clear(self) -> None:
        """Forget the gradient."""
        self.weight.grad = self.master.grad = None
        self.arrived = False
        if self.weight.device.type != "cpu":
            self.summed = None

    def release(self) -> None:
        """Forget the gradient, and give back its memory."""
        self.clear()
        self.summed = None


class Optimizer:
    """The trainable weights with their float32 masters, gradients and moments.

    A bfloat16 weight's gradient is added into its master's float32 gradient bin by bin, as each arrives.

    Args:
        named: Trainable parameters by name.
        kind: adamw (Loshchilov & Hutter 2019, arXiv:1711.05101; β 0.9, 0.999), adamw_8bit (moments in blocks of
            8 bits, Dettmers et al. 2022, arXiv:2110.02861) or rmsprop (α 0.99).
        weight_decay: Decoupled for adamw; ≥ 0.
        stochastic: Keep no float32 masters: each update is made in float32 and rounded stochastically to bfloat16.
        seed: Of the rounding's counter stream.
        compute: What the model computes in, where that is not the weights' dtype: they are turned into copies of the
            masters, refreshed at each step.
        rates: Multiples of the learning rate, of weights that have another one.
        epsilon: ε > 0, added to the root of the second moment (of AdamW: once it is corrected for its beginning).
    """

    def __init__(
        self,
        named: Mapping[str, nn.Parameter],
        *,
        kind: Kind,
        weight_decay: float,
        stochastic: bool,
        seed: int,
        compute: torch.dtype | None = None,
        rates: Mapping[str, float] | None = None,
        epsilon: float = 1e-8,
    ) -> None:
        self.slots = [_slot(name, weight, stochastic, compute or weight.dtype) for name, weight in named.items()]
        self.stochastic = stochastic
        self.seed = seed
        # one optimiser per weight where masters exist one at a time
        together = [[slot] for slot in self.slots] if stochastic else [self.slots]
        self._inner = [_make(kind, _rated(part, rates or {}), weight_decay, epsilon) for part in together]

    def clip(self, most: float) -> float:
        """Scale the gradient to a norm of at most `most`; return its norm before."""
        gradients = [slot.gradient for slot in self.slots if slot.gradient is not None]
        norm = float(whole(nn.utils.get_total_norm(gradients)))
        if norm > most:
            for gradient in gradients:
                gradient.mul_(most / norm)
        return norm

    def step(self, lr: float, index: int) -> tuple[Tensor, Tensor]:
        """Update every weight and clear the gradients.

        Returns:
            (sampled elements whose weight did not change though their gradient is not 0, those with such a gradient).
        """
        watched = [_watch(slot, self.kept(slot)) for slot in self.slots]
        for group in (group for inner in self._inner for group in inner.param_groups):
            group["lr"] = lr * group["rate"]
        if self.stochastic:
            self._step_one_by_one(index)
        else:
            for slot in self.slots:
                slot.master.grad = slot.gradient
            self._inner[0].step()
            for slot in self.slots:
                if slot.weight is not slot.master:
                    slot.weight.data.copy_(slot.master.data)
        counted = []
        for slot, (before, moved) in zip(self.slots, watched, strict=True):
            same = sampled(self.kept(slot)) == before
            counted.append(torch.stack(((same & moved).sum(), moved.sum())))
            slot.clear()
        lost, watched_in_all = torch.stack(counted).sum(0)
        return lost, watched_in_all

    def _step_one_by_one(self, index: int) -> None:
        for number, (slot, inner) in enumerate(zip(self.slots, self._inner, strict=True)):
            slot.master.data = slot.weight.data.float()
            slot.master.grad = slot.gradient
            inner.step()
            bits = stream(self.seed, "rounding", index, number)
            slot.weight.data.copy_(round_stochastically(slot.master.data, int(bits.integers(2**63))))
            slot.master.grad = None
            slot.master.data = slot.master.data.new_empty(0)

    def release(self) -> None:
        """Give back the memory of gradients: before what needs room for something else than a step."""
        for slot in self.slots:
            slot.release()

    def weights(self) -> dict[str, Tensor]:
        """Return the trained weights by name, full, on the CPU, in the precision that persists."""
        return {slot.name: whole(self.kept(slot).detach()).cpu() for slot in self.slots}

    def state(self) -> dict[str, Tensor]:
        """Return weights and moments as full tensors on the CPU, by `weight/NAME` and `KEY/NAME`."""
        out: dict[str, Tensor] = {}
        for slot in self.slots:
            kept = self.kept(slot)
            out[f"weight/{slot.name}"] = whole(kept.detach()).cpu().contiguous()
            for key, value in self._moments(slot).items():
                out[f"{key}/{slot.name}"] = whole(torch.as_tensor(value)).cpu().contiguous()
        return out

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned, on any number of ranks."""
        for slot in self.slots:
            kept = self.kept(slot)
            kept.data.copy_(part_of(state[f"weight/{slot.name}"], kept.data))
            if kept is not slot.weight:
                slot.weight.data.copy_(kept.data)
            moments = self._moments(slot)
            like = slot.master.data
            # In one order on all ranks: each part is dealt out by a collective, and a set's order is a process's own.
            for key in sorted({name.split("/", 1)[0] for name in state if name.endswith(f"/{slot.name}")} - {"weight"}):
                value = state[f"{key}/{slot.name}"]
                if value.ndim == 0 and not value.is_floating_point():
                    moments[key] = int(value)  # a count of steps, which torch's own optimisers hold as a float tensor
                else:
                    moments[key] = part_of(value, like) if value.shape == like.shape else value.to(like.device)

    def kept(self, slot: Slot) -> nn.Parameter:
        """Return the tensor that persists between steps, in the precision of the update: a checkpoint holds it."""
        return slot.weight if self.stochastic else slot.master

    def _moments(self, slot: Slot) -> dict[str, Any]:
        inner = self._inner[self.slots.index(slot)] if self.stochastic else self._inner[0]
        state: dict[str, Any] = inner.state[slot.master]
        return state


def _slot(name: str, weight: nn.Parameter, stochastic: bool, compute: torch.dtype) -> Slot:
    if not stochastic and weight.dtype == compute and compute != torch.bfloat16:
        return Slot(name, weight, weight)
    master = weight.detach().new_empty(0, dtype=torch.float32) if stochastic else weight.detach().float().clone()
    weight.data = weight.data.to(compute)
    slot = Slot(name, weight, nn.Parameter(master))
    weight.register_post_accumulate_grad_hook(slot.collect)
    return slot


def _rated(slots: Sequence[Slot], rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return masters by the multiple of the learning rate at which they move."""
    rate_of = {slot.name: rates.get(slot.name, 1.0) for slot in slots}
    return [
        {"params": [slot.master for slot in slots if rate_of[slot.name] == rate], "rate": rate}
        for rate in dict.fromkeys(rate_of.values())
    ]


def _make(kind: Kind, masters: list[dict[str, Any]], weight_decay: float, epsilon: float) -> torch.optim.Optimizer:
    if kind == "rmsprop":
        return torch.optim.RMSprop(masters, eps=epsilon, weight_decay=weight_decay)
    if kind == "adamw":
        return torch.optim.AdamW(masters, eps=epsilon, weight_decay=weight_decay, fused=True)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise MissingExtraError("train.optimizer adamw_8bit", "8bit") from error
    made: torch.optim.Optimizer = AdamW8bit(masters, eps=epsilon, weight_decay=weight_decay)
    return made


def sampled(tensor: Tensor) -> Tensor:
    """Return up to about `SAMPLED` elements of what this process holds of a tensor, evenly spread, as a view."""
    flat = local(tensor.detach()).flatten()
    return flat[:: max(1, len(flat) // SAMPLED)]


def _watch(slot: Slot, kept: Tensor) -> tuple[Tensor, Tensor]:
    before = sampled(kept).clone()
    gradient = slot.gradient
    return before, torch.zeros_like(before, dtype=torch.bool) if gradient is None else sampled(gradient) != 0


def round_stochastically(value: Tensor, seed: int) -> Tensor:
    """Round float32 to bfloat16, up with the probability that keeps the expectation (arXiv:2010.06192, §3).

    Args:
        value: float32, any shape, finite.
        seed: Of the random bits; equal seeds round alike.

    Returns:
        bfloat16, the same shape.
    """
    generator = torch.Generator(device=value.device).manual_seed(seed)
    noise = torch.randint(0, 1 << 16, value.shape, dtype=torch.int32, device=value.device, generator=generator)
    bits = (value.contiguous().view(torch.int32) + noise) & -65536  # keep the upper 16 bits
    return bits.view(torch.float32).to(torch.bfloat16)
