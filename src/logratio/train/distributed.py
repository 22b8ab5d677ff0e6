"""Several processes: FSDP2 only, and no-ops on one. Replication is sharding that keeps the gathered weights."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ..errors import ConfigError, PeerError, RunError
from ..models.device import VARIABLE, best_device, desk


@dataclass(frozen=True)
class World:
    """The processes of a run, as torchrun started them.

    Attributes:
        rank: This process, from 0.
        size: Their number.
        mode: How weights are laid out over them.
        device: Where this process's model computes.
    """

    rank: int
    size: int
    mode: Literal["none", "replicate", "shard"]
    device: torch.device

    @property
    def desk(self) -> torch.device:
        """Where what is behind the model computes: losses, metrics and totals."""
        return desk(self.device)

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            dist.barrier()

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over ranks."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, values: Tensor) -> list[Tensor]:
        """Return every rank's 1-D tensor, whatever their lengths."""
        if self.size == 1:
            return [values]
        lengths = [torch.zeros(1, dtype=torch.int64, device=values.device) for _ in range(self.size)]
        dist.all_gather(lengths, torch.tensor([len(values)], device=values.device))
        most = int(max(lengths))
        padded = torch.zeros(most, dtype=values.dtype, device=values.device)
        padded[: len(values)] = values
        out = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(out, padded)
        return [part[: int(n)] for part, n in zip(out, lengths, strict=True)]

    def text(self, value: str) -> str:
        """Return rank 0's text on every rank."""
        if self.size == 1:
            return value
        size = torch.tensor([len(value.encode())], device=self.device)
        dist.broadcast(size, src=0)
        body = torch.zeros(int(size), dtype=torch.uint8, device=self.device)
        if self.rank == 0:
            body = torch.tensor(list(value.encode()), dtype=torch.uint8, device=self.device)
        dist.broadcast(body, src=0)
        return bytes(body.tolist()).decode()

    def least(self, value: int) -> int:
        """Return the smallest of the ranks' numbers."""
        return min(int(part) for part in self.gather(torch.tensor([value], device=self.device)))

    @contextmanager
    def first(self) -> Iterator[None]:
        """Let rank 0 go through the block before the others, who find done what can be kept for them.

        Raises:
            PeerError: On the others, where rank 0 failed: it alone says why.
        """
        if self.rank and self.any(False):
            raise PeerError
        done = False
        try:
            yield
            done = True
        finally:
            if self.rank == 0:
                self.any(not done)

    def any(self, flag: bool) -> bool:
        """Whether any rank says so; all ranks get the same answer."""
        if self.size == 1:
            return flag
        told = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(told, op=dist.ReduceOp.MAX)
        return bool(told.item())


def start(parallel: Literal["auto", "none", "replicate", "shard"], *, resuming: bool = False) -> World:
    """Join the processes that torchrun started, or stand alone.

    Args:
        parallel: How weights are laid out.
        resuming: The number of processes may be another than when the run began: what contradicts it is as `auto`.

    Raises:
        ConfigError: `parallel` or the device asked for contradicts the number of processes.
        RunError: The processes cannot reach one another.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if resuming and (size == 1) != (parallel == "none"):
        parallel = "auto"
    device = best_device(int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1:
        if parallel in ("replicate", "shard"):
            raise ConfigError(
                f"train.parallel is {parallel}, which needs several processes, and this is one: start it with "
                "`torchrun --nproc-per-node N -m logratio train …`, or leave train.parallel out."
            )
        return World(0, 1, "none", device)
    if parallel == "none":
        raise ConfigError(
            f"train.parallel is none, and torchrun started {size} processes: each would train a model of its own; "
            "use replicate or shard, or start one process."
        )
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    elif device.type != "cpu" and os.environ.get(VARIABLE) == device.type:
        raise ConfigError(
            f"{VARIABLE} is {device.type}, and torchrun started {size} processes, which compute on CUDA GPUs or on the "
            "CPU alone: start one process, or unset it."
        )
    else:
        device = torch.device("cpu")  # gloo knows no other
    if not dist.is_initialized():
        try:  # others wait while rank 0 tokenises or writes a model; that a process died is noticed without a timeout
            dist.init_process_group("nccl" if cuda else "gloo", timeout=datetime.timedelta(days=1))
        except (RuntimeError, ValueError) as error:
            raise RunError(
                f"WORLD_SIZE is {size}, and these processes could not find one another ({error}): start them with "
                "`torchrun --nproc-per-node N -m logratio train …`, or unset WORLD_SIZE to run one."
            ) from error
    return World(rank, size, "shard" if parallel == "auto" else parallel, device)


def wrap(policy: nn.Module, world: World, *, bf16: bool) -> None:
    """Lay the policy's weights out over the ranks, transformer block by block; gradients are summed, not averaged."""
    if world.size == 1:
        return
    precision = MixedPrecisionPolicy(param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32)
    again = world.mode == "shard"
    mesh = init_device_mesh(world.device.type, (world.size,))  # by itself it would take a GPU that is not in use
    for block in [*_blocks(policy), policy]:
        fully_shard(block, mesh=mesh, mp_policy=precision, reshard_after_forward=again)
    for module in policy.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # the loss already carries the step's denominators
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no scaled sum


def _blocks(policy: nn.Module) -> list[nn.Module]:
    """Return the longest list of modules in each part, model and critic: a transformer's blocks."""
    parts = [
        [list(module) for module in part.modules() if isinstance(module, nn.ModuleList)] for part in policy.children()
    ]
    return [block for lists in parts for block in max(lists, key=len, default=[])]


def sync_gradients(policy: nn.Module, on: bool) -> None:
    """Reduce gradients in the next backward pass, or leave them for a later one."""
    if isinstance(policy, FSDPModule):
        policy.set_requires_gradient_sync(on)


@contextmanager
def unsharded(policy: nn.Module) -> Iterator[None]:
    """Hold all weights gathered, so that parts of the model can be called by themselves; all ranks take part."""
    for module in policy.modules():
        if isinstance(module, FSDPModule):
            module.unshard()
    yield
    reshard(policy)


def reshard(policy: nn.Module) -> None:
    """Drop gathered weights, so that the next forward pass gathers them as they are by then."""
    for module in policy.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


_LOST = ("by peer", "Broken pipe")
"""What gloo says, in words only, where the process at the other end is gone."""


@contextmanager
def peers() -> Iterator[None]:
    """Turn the loss of another process, met in the midst of a collective, into one sentence.

    Raises:
        PeerError: Another process stopped.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or any(sign in str(error) for sign in _LOST):
            raise PeerError from error
        raise


def whole(tensor: Tensor) -> Tensor:
    """Return the full tensor of a sharded one, on every rank."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part_of(full: Tensor, like: Tensor) -> Tensor:
    """Return this rank's share of `full`, laid out as `like`."""
    if isinstance(like, DTensor):
        return distribute_tensor(full.to(like.device), like.device_mesh, like.placements)
    return full.to(like.device)


def local(tensor: Tensor) -> Tensor:
    """Return what this rank holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def stop() -> None:
    """Leave the process group, where there is one, all ranks at once: none exits while another still talks to it."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
