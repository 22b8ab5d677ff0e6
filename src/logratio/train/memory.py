"""How many tokens a bin may hold: an itemised estimate of what training keeps in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..batch.group import Group
from ..config import RolloutConfig, TrainConfig
from ..errors import MemoryBudgetError
from ..logps.head import held_bytes
from ..logps.strips import KEPT
from ..logps.value import Critic
from ..models.anatomy import unwrapped
from ..rollout.generate import HELD
from .distributed import World, local
from .units import size

GIB = 1 << 30
_LEAST = 512
_ENOUGH = 4096
"""Bytes of a column of activations at which a step on a CPU is as fast as it gets: 1,024 rows of float32, at which
products are at their peak, and twice as many of bfloat16, whose products are fast enough for all else to show."""
_EASE = GIB // 4
_HEADROOM = 0.7
"""Share of the free memory that a plan may use; the rest is fragmentation, and what the estimate does not know."""


@dataclass(frozen=True)
class Estimate:
    """Bytes, item by item.

    Attributes:
        weights: Parameters as the model computes with them, and float32 masters where these differ.
        gathered: Other ranks' shards, kept from one step to the next where weights are replicated.
        gradients: Float32, one per trainable element.
        moments: The optimiser's.
        per_token: Activations kept for the backward pass, per packed token.
        head: The logits of a bin, and the gradient of the head's weight before it is added to that of other bins.
        free: What the device has left, with the weights in place.
        second: A second model that the run holds as its live reference, of the size of the first; 0 without one.
        moving: The trained weights of a reference that moves; 0 without one.
        value: A critic's or value head's weights, masters, gradients and moments; 0 where no values are read.
        value_ahead: What of these is still to be taken, all but the weights themselves.
        drawing: Keys and values of responses while they are drawn, which is never while a bin is under way; 0 where
            none are.
        between: A second model that is in memory only between bins (`rollout.offload`); 0 without one.
        width: Bytes of the numbers that are computed with.
    """

    weights: int
    gathered: int
    gradients: int
    moments: int
    per_token: int
    head: int
    free: int
    second: int = 0
    moving: int = 0
    value: int = 0
    value_ahead: int = 0
    drawing: int = 0
    between: int = 0
    width: int = 4

    @property
    def ahead(self) -> int:
        """Bytes that a run takes beyond its weights, whatever the batch."""
        steady = self.gathered + self.gradients + self.moments + self.second + self.moving + self.value_ahead
        return steady + self.head

    def line(self, bin_tokens: int) -> str:
        """Return the estimate as one line."""
        weights, activations = self.weights + self.gathered, self.per_token * bin_tokens
        second = f"second model {size(self.second)} + " if self.second else ""
        second += f"moving reference {size(self.moving)} + " if self.moving else ""
        second += f"values {size(self.value)} + " if self.value else ""
        return (
            f"memory: weights {size(weights)} + {second}gradients {size(self.gradients)} + moments "
            f"{size(self.moments)} + activations {size(activations)} for bins of {bin_tokens} tokens "
            f"(train.bin_tokens) + head {size(self.head)}; {size(self.free)} free beside the weights"
            + (f"; while responses are drawn, keys and values {size(self.drawing)} at most" if self.drawing else "")
            + (f"; while a phase is scored, reference {size(self.between)}" if self.between else "")
        )


def estimate(
    model: nn.Module,
    config: TrainConfig,
    *,
    bf16: bool,
    world: World,
    second_model: bool = False,
    moving: int = 0,
    value: nn.Module | None = None,
    rollout: RolloutConfig | None = None,
) -> Estimate:
    """Estimate a process's memory, its model being in place.

    `second_model`: another one is to stand beside it; `moving`: bytes per trained weight that a moving reference takes;
    `value`: the value part, of which a critic keeps activations as a model does; `rollout`: how responses are drawn.

    Activations: per layer about 16 hidden widths and 3 MLP widths of the compute dtype are kept (norms, projections,
    attention's inputs and output, gated MLP), on a CPU attention's weights too; with checkpointing one hidden width,
    and one layer's worth in flight.
    """
    held = sum(local(p).numel() for p in model.parameters())
    trained = sum(local(p).numel() for p in model.parameters() if p.requires_grad)
    width = 2 if bf16 else 4
    masters = 4 * trained if bf16 and config.weights == "fp32" else 0
    moments = {"adamw": 8, "adamw_8bit": 2, "rmsprop": 4}[config.optimizer]
    on_cpu = world.device.type == "cpu"
    per_token = _per_token(model, config, width, cpu=on_cpu)
    offload = rollout is not None and rollout.offload
    judging = 0 if value is None else sum(local(p).numel() for p in value.parameters())
    ahead = (4 + moments + (4 if masters else 0)) * judging
    if isinstance(value, Critic):
        per_token += _per_token(value.model, config, width, cpu=on_cpu)
    return Estimate(
        weights=held * width + masters if world.size == 1 else held * 4,  # FSDP2 keeps its shards in float32
        gathered=width * sum(p.numel() for p in model.parameters()) if world.mode == "replicate" else 0,
        gradients=4 * trained,
        moments=moments * trained,
        per_token=per_token,
        head=_head(model, config.bin_tokens or _most(world.device), width, cpu=on_cpu),
        free=free_memory(world.device),
        second=held * width if second_model and not offload else 0,
        moving=moving * trained,
        value=judging * (width if world.size == 1 else 4) + ahead,
        value_ahead=ahead,
        drawing=HELD * _kept_per_token(model) * width if rollout is not None else 0,
        between=held * width if second_model and offload else 0,
        width=width,
    )


def _per_token(model: nn.Module, config: TrainConfig, width: int, *, cpu: bool) -> int:
    hidden, layers, inner = _shape(model)
    weights = _heads(model) * KEPT // 2 if cpu else 0  # a strip of pairs of usual length has half as many keys
    layer = (16 * hidden + 3 * inner + weights) * width
    return layers * hidden * width + layer if config.checkpointing else layers * layer


def _head(model: nn.Module, rows: int, width: int, *, cpu: bool) -> int:
    """Return what the head of a language model holds; a reward model's has one row."""
    whole: Any = unwrapped(model)
    layer = whole.get_output_embeddings() if hasattr(whole, "get_output_embeddings") else None
    if layer is None:
        return 0
    V, D = layer.weight.shape  # with an adapter on it, of the weight below that
    learns = any(weight.requires_grad for weight in layer.parameters())
    return held_bytes(V, D, rows=rows, width=width, learns=learns, cpu=cpu)


def _kept_per_token(model: nn.Module) -> int:
    """Return how many numbers the keys and values of one token are, over all layers."""
    config = getattr(model, "config", None)
    text = config.get_text_config() if config is not None else None
    hidden, layers, _ = _shape(model)
    heads = _heads(model)
    width = getattr(text, "head_dim", None) or hidden // heads
    return 2 * layers * width * (getattr(text, "num_key_value_heads", None) or heads)


def _heads(model: nn.Module) -> int:
    config = getattr(model, "config", None)
    text = config.get_text_config() if config is not None else None
    heads = getattr(text, "num_attention_heads", None) or 1
    return max(heads) if isinstance(heads, list) else heads  # OpenELM has them by layer


def bin_budget(estimate: Estimate, device: torch.device) -> int:
    """Return the tokens of a bin: what fits, within what is fast. A longer group has a bin of its own all the same.

    Beyond some size a bin only costs memory. On a GPU that is 32,768 tokens. On a CPU it is 1,024, of bfloat16 2,048;
    and a small model, whose step is many short operations, gains up to 4,096: between the two, a bin's activations take
    a quarter of a GiB. Below 512 it costs time and saves hardly more than a single long group takes.
    """
    most = _most(device)
    if device.type != "cuda":
        most = max(_ENOUGH // estimate.width, min(most, _EASE // max(1, estimate.per_token)))
    fits = int((estimate.free * _HEADROOM - estimate.ahead) / max(1, estimate.per_token))
    return max(_LEAST, min(most, fits))


def _most(device: torch.device) -> int:
    return 32768 if device.type == "cuda" else 4096


def free_memory(device: torch.device) -> int:
    """Return the bytes that a process can still take on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 8 * GIB  # a system that does not say: assume a small machine


def _shape(model: nn.Module) -> tuple[int, int, int]:
    config = getattr(model, "config", None)
    text = config.get_text_config() if config is not None else None
    hidden = getattr(text, "hidden_size", None) or 1024
    inner = getattr(text, "intermediate_size", None) or 4 * hidden
    inner = inner if isinstance(inner, int) else max(inner)
    return hidden, getattr(text, "num_hidden_layers", None) or 24, inner


@contextmanager
def within_memory(doing: str, groups: Iterable[Group], bin_tokens: int) -> Iterator[None]:
    """Turn running out of memory within the block into one sentence.

    Args:
        doing: What is under way.
        groups: What it is done with.
        bin_tokens: Tokens a bin may hold.

    Raises:
        MemoryBudgetError: It does not fit; names the token counts and the knobs.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _ran_out(error):
            raise
        longest = max((group.tokens for group in groups), default=0)
        smaller = max(longest, bin_tokens // 2)
        bins = f"set train.bin_tokens to {smaller}, which changes no gradient, " if smaller < bin_tokens else ""
        raise MemoryBudgetError(
            f"{doing}: out of memory with bins of {bin_tokens} tokens (the longest group has {longest}); {bins}turn on "
            "train.checkpointing, or lower tokens.max_length (before resuming, in the run's config.yaml)."
        ) from error


@contextmanager
def drawing_within_memory(phase: int, rollout: RolloutConfig, bin_tokens: int) -> Iterator[None]:
    """Turn running out of memory while responses are drawn, judged and scored into one sentence.

    Args:
        phase: Counted from 0.
        rollout: How they are drawn.
        bin_tokens: Tokens a bin may hold.

    Raises:
        MemoryBudgetError: It does not fit; names the knobs.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _ran_out(error):
            raise
        raise MemoryBudgetError(
            f"phase {phase + 1}: out of memory while {rollout.k} responses (rollout.k) of at most "
            f"{rollout.max_new_tokens} tokens (rollout.max_new_tokens) are drawn to each prompt, judged, and scored in "
            f"bins of {bin_tokens} tokens (train.bin_tokens); lower one of them (before resuming, in the run's "
            "config.yaml)."
        ) from error


def _ran_out(error: BaseException) -> bool:
    """Whether an exception is the allocator's: Python's, the GPU's, or one that torch names in words only."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(
        said in str(error) for said in ("can't allocate memory", "backend out of memory")
    )
