"""Norms and gated products of a block that keep no more for the backward pass than their inputs.

Written out in tensor operations, a norm keeps three tensors of its input's size and a gated product four; a quarter of
what a bin holds in memory. Here each is one step with its own backward pass, over pieces of rows large enough that a
call's fixed cost does not show. A block's own formula decides: a module is taken over only where it gives the same
numbers on random input, and an activation only where it is SiLU to the last digits, since narrow numbers would let one
that is nearly so pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

_ELEMENTS = 1 << 18
"""Elements of the rows that go through a backward pass together."""
_PROBES = 3


def rms_norm(x_D: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """Root-mean-square norm of the last axis (Zhang & Sennrich 2019, arXiv:1910.07467, Eq. 4).

        y = w · x / √(mean x² + ε)

    It equals the formula written out, in float32 for narrower x, whose result is rounded before it meets w.

    Args:
        x_D: Any shape [..., D].
        weight_D: [D].
        eps: ε ≥ 0.
    """
    return _normed(x_D, weight_D, eps)


def silu_gated(gate: Tensor, up: Tensor) -> Tensor:
    """SiLU-gated product silu(gate)·up (Shazeer 2020, arXiv:2002.05202, Eq. 6), any equal shapes [..., D].

    It equals `torch.nn.functional.silu(gate) * up` to the bit.
    """
    return _gated_product(gate, up)


@dataclass(frozen=True)
class Fusion:
    """A module whose forward pass can be computed here."""

    module: nn.Module
    forward: Callable[[Tensor], Tensor]

    def set(self, on: bool) -> None:
        """Compute it here, or as the module itself does."""
        if on:
            self.module.forward = self.forward
        else:
            self.module.__dict__.pop("forward", None)


def fusions(model: nn.Module) -> list[Fusion]:
    """Find the norms and gated blocks on a CPU that compute what this file does; one of each class is tried out."""
    return _tried(_candidates(model))


@contextmanager
def few_calls(model: nn.Module) -> Iterator[None]:
    """Compute a model's norms in one call each and its gated blocks as it does itself, for as long as this lasts.

    For a token at a time without gradient: there a call costs more than what it computes, and a fusion is several. A
    norm for which torch's own call gives other bits, as it does in bfloat16, is computed by the module.
    """
    fused = [(module, module.__dict__["forward"]) for module in model.modules() if _is_fused(module)]
    norms: list[Fusion] = []
    try:
        for module, _ in fused:
            del module.__dict__["forward"]
        norms = _tried(((module, width, _in_one_call(*own.args)) for module, width, own in _norms(model)), slack=0)
        for norm in norms:
            norm.set(True)
        yield
    finally:
        for norm in norms:
            norm.set(False)
        for module, forward in fused:
            module.forward = forward


def _is_fused(module: nn.Module) -> bool:
    return getattr(module.__dict__.get("forward"), "func", None) in (_norm, _gated)


def _tried(
    candidates: Iterable[tuple[nn.Module, int, Callable[[Tensor], Tensor]]], slack: float | None = None
) -> list[Fusion]:
    same: dict[type, bool] = {}
    found = []
    for module, width, forward in candidates:
        kind = type(module)
        if kind not in same:
            same[kind] = _gives_the_same(module, width, forward, slack)
        if same[kind]:
            found.append(Fusion(module, forward))
    return found


def _candidates(model: nn.Module) -> Iterator[tuple[nn.Module, int, Callable[[Tensor], Tensor]]]:
    """Yield modules that look the part, with the width of their input."""
    yield from _norms(model)
    for module in model.modules():
        if module._modules.keys() == {"gate_proj", "up_proj", "down_proj", "act_fn"}:
            if _is_free(module, *module.parameters()) and _is_silu(module.get_submodule("act_fn")):
                yield module, _width(module.get_submodule("gate_proj")), partial(_gated, module)


def _norms(model: nn.Module) -> Iterator[tuple[nn.Module, int, partial[Tensor]]]:
    for module in model.modules():
        if not type(module).__name__.endswith("RMSNorm"):
            continue
        weight = getattr(module, "weight", None)
        eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        if isinstance(weight, Tensor) and isinstance(eps, float) and _is_free(module, weight):
            yield module, len(weight), partial(_norm, module, eps)


def _is_free(module: nn.Module, *weights: Tensor) -> bool:
    """Whether a module may be taken over: it is on a CPU, and nobody else has taken it."""
    return "forward" not in module.__dict__ and all(weight.device.type == "cpu" for weight in weights)


def _width(projection: nn.Module) -> int:
    weight: Any = projection.weight  # of a LoRA layer: that of the layer which it wraps
    return int(weight.shape[-1])


def _is_silu(activation: nn.Module) -> bool:
    x = torch.linspace(-12, 12, 97, dtype=torch.float64, device="cpu")
    try:
        own = activation(x)
    except RuntimeError:  # it takes no float64, so that nothing can be told
        return False
    return own.dtype == x.dtype and torch.allclose(own, nn.functional.silu(x), rtol=1e-12, atol=0)


def _norm(module: nn.Module, eps: float, x_D: Tensor) -> Tensor:
    return rms_norm(x_D, module.get_parameter("weight"), eps)


def _in_one_call(module: nn.Module, eps: float) -> Callable[[Tensor], Tensor]:
    weight_D = module.get_parameter("weight")
    return partial(nn.functional.rms_norm, normalized_shape=list(weight_D.shape), weight=weight_D, eps=eps)


def _gated(module: nn.Module, x_D: Tensor) -> Tensor:
    gate, up, down = (module.get_submodule(f"{name}_proj") for name in ("gate", "up", "down"))
    out: Tensor = down(silu_gated(gate(x_D), up(x_D)))
    return out


def _gives_the_same(
    module: nn.Module, width: int, forward: Callable[[Tensor], Tensor], slack: float | None = None
) -> bool:
    """Whether both agree on random input, within rounding unless `slack` says how closely, relative to the largest."""
    with torch.no_grad():
        dtype = next(module.parameters()).dtype
        x_D = torch.randn(1, _PROBES, width, generator=torch.Generator().manual_seed(0)).to(dtype)
        mine, own = forward(x_D), module(x_D)
    if slack is None:
        slack = (16 if dtype in (torch.float32, torch.float64) else 2) * torch.finfo(dtype).eps
    return bool(own.shape == mine.shape and torch.allclose(mine, own, rtol=slack, atol=slack * float(own.abs().max())))


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_D: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        wide_D = _wide(x_D)
        inverse = torch.linalg.vector_norm(wide_D, dim=-1, keepdim=True).square_().div_(x_D.shape[-1])
        inverse = inverse.add_(eps).rsqrt_()
        ctx.save_for_backward(x_D, weight_D, inverse)
        normed_D: Tensor = (wide_D * inverse).to(x_D.dtype)
        return normed_D.mul_(weight_D) if normed_D.dtype == weight_D.dtype else normed_D * weight_D

    @staticmethod
    def backward(ctx: Any, dy_D: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x_D, weight_D, inverse = ctx.saved_tensors
        x_ND, dy_ND, inverse_N1 = (t.reshape(-1, t.shape[-1]) for t in (x_D, dy_D, inverse))
        dx_ND = x_ND.new_empty(x_ND.shape)
        dw_D = torch.zeros(len(weight_D), dtype=inverse.dtype) if ctx.needs_input_grad[1] else None
        wide_weight_D, rows = weight_D.to(inverse.dtype), max(1, _ELEMENTS // len(weight_D))
        for x, dy, scale, dx in zip(*(t.split(rows) for t in (x_ND, dy_ND, inverse_N1, dx_ND)), strict=True):
            normed, dy = _wide(x) * scale, _wide(dy)
            product = normed * dy
            if dw_D is not None:
                dw_D += product.sum(0)
            along = torch.mv(product, wide_weight_D).div_(-len(weight_D))[:, None]
            dx.copy_(torch.mul(dy, wide_weight_D, out=product).addcmul_(normed, along).mul_(scale))
        return dx_ND.view_as(x_D), None if dw_D is None else dw_D.to(weight_D.dtype), None


_normed: Callable[[Tensor, Tensor, float], Tensor] = _Norm.apply


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        out: Tensor = nn.functional.silu(gate)
        return out.mul_(up)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        dgate, dup = gate.new_empty(gate.shape), up.new_empty(up.shape)
        rows = max(1, _ELEMENTS // gate.shape[-1])
        pieces = (t.reshape(-1, gate.shape[-1]).split(rows) for t in (gate, up, d, dgate, dup))
        for gate_N, up_N, d_N, dgate_N, dup_N in zip(*pieces, strict=True):
            torch.mul(nn.functional.silu(gate_N), d_N, out=dup_N)
            torch.ops.aten.silu_backward.grad_input(d_N * up_N, gate_N, grad_input=dgate_N)
        return dgate, dup


_gated_product: Callable[[Tensor, Tensor], Tensor] = _Gated.apply


def _wide(x_D: Tensor) -> Tensor:
    return x_D if x_D.dtype == torch.float64 else x_D.float()
