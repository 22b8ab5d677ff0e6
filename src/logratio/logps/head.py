"""Hidden states → log-probs of target tokens, without the [R, V] logits ever existing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..batch.needs import Extra

_BUFFER = 1 << 24
"""Most elements of a chunk's logits: 512 rows at V = 32,768, where the matrix products run at their best."""
_MOST_ROWS = 512
_FEWEST_ROWS = 64


@dataclass(frozen=True, slots=True)
class Shape:
    """How raw logits become the ones that are normalised: u = W h + b, z = cap(scale · u) / temperature."""

    scale: float
    softcap: float | None
    temperature: float

    def __call__(self, logits_CV: Tensor) -> Tensor:
        """Shape raw logits in place."""
        if self.softcap is None:
            factor = self.scale / self.temperature
            return logits_CV if factor == 1.0 else logits_CV.mul_(factor)
        capped = logits_CV.mul_(self.scale / self.softcap).tanh_()
        return capped.mul_(self.softcap / self.temperature)

    def slope(self, shaped_CV: Tensor) -> Tensor | float:
        """Return ∂z/∂u, read off the shaped logits: cap · tanh has slope 1 − (z·temperature/cap)²."""
        factor = self.scale / self.temperature
        if self.softcap is None:
            return factor
        return (shaped_CV * (self.temperature / self.softcap)).square_().neg_().add_(1.0).mul_(factor)


def head(
    h_RD: Tensor,
    W_VD: Tensor,
    bias_V: Tensor | None,
    target_R: Tensor,
    *,
    scale: float = 1.0,
    softcap: float | None = None,
    temperature: float = 1.0,
    extras: Sequence[Extra] = (),
) -> tuple[Tensor, dict[Extra, Tensor]]:
    """Log-prob of each target token under softmax of the language-model head.

        u = W h + b        z = c·tanh(scale·u/c) / τ   (without softcap: z = scale·u / τ)
        log π(y) = z_y − log Σ_v exp z_v

    This equals `torch.log_softmax(z, -1).gather(-1, y)`, row by row. Rows go through in chunks, so that memory is
    that of one chunk's logits. Gradients are computed only for inputs that require them: with W and b frozen,
    ∂log π/∂h is formed in the forward chunk and logits are never recomputed; otherwise backward recomputes a chunk's
    logits, and ∂W is accumulated in float32.

    Args:
        h_RD: Hidden states, [R, D], any floating dtype.
        W_VD: Head weight, [V, D], same dtype.
        bias_V: Head bias, [V], or None.
        target_R: Token ids in [0, V), int64 [R].
        scale: Multiplies the raw logits (Cohere; Granite's reciprocal).
        softcap: c > 0 of c·tanh(·/c) (Gemma 2), or None.
        temperature: τ > 0.
        extras: "entropy" (−Σ π log π, nats) and "square" (Σ π²), both detached.

    Returns:
        Log-probs [R], nats, float32 (float64 where h is), and the extras by name, [R] of the same dtype.
    """
    shape = Shape(scale, softcap, temperature)
    logp_R, entropy_R, square_R = _fused(h_RD, W_VD, bias_V, target_R, shape, bool(extras))
    values: dict[Extra, Tensor] = {"entropy": entropy_R, "square": square_R}
    return logp_R, {name: values[name] for name in extras}


def _rows(vocabulary: int) -> int:
    return max(_FEWEST_ROWS, min(_MOST_ROWS, _BUFFER // max(vocabulary, 1)))


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which logits are normalised and gradients of weights added up."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class Logits:
    """A chunk's shaped logits in the wide dtype, in one buffer that all chunks reuse."""

    def __init__(self, h_RD: Tensor, W_VD: Tensor, bias_V: Tensor | None, shape: Shape) -> None:
        self.h_RD, self.W_DV, self.bias_V, self.shape = h_RD, W_VD.t(), bias_V, shape
        self.chunks = h_RD.split(_rows(len(W_VD))) if len(h_RD) else ()
        rows = len(self.chunks[0]) if self.chunks else 0
        self._buffer = h_RD.new_empty(rows, len(W_VD))

    def __call__(self, h_CD: Tensor) -> Tensor:
        """Return a chunk's logits, [C, V]; the next call overwrites them."""
        raw_CV = self._buffer[: len(h_CD)]
        if self.bias_V is None:
            torch.mm(h_CD, self.W_DV, out=raw_CV)
        else:
            torch.addmm(self.bias_V, h_CD, self.W_DV, out=raw_CV)
        return self.shape(raw_CV.to(wide(raw_CV.dtype)))


def _probs(shaped_CV: Tensor, target_C: Tensor) -> tuple[Tensor, Tensor]:
    """Turn shaped logits into probabilities in place; return them with the targets' log-probs."""
    chosen_C = shaped_CV.gather(1, target_C[:, None]).squeeze(1)
    top_C = shaped_CV.amax(1)
    shaped_CV.sub_(top_C[:, None]).exp_()
    total_C = shaped_CV.sum(1)
    logp_C = chosen_C - top_C - total_C.log()
    return shaped_CV.div_(total_C[:, None]), logp_C


def _residual(shaped_CV: Tensor, target_C: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
    """Return ∂log π(y)/∂u = (1[v = y] − π_v)·∂z/∂u and log π(y); the logits' buffer is overwritten."""
    slope = shape.slope(shaped_CV)
    probs_CV, logp_C = _probs(shaped_CV, target_C)
    ones_C1 = probs_CV.new_full((len(target_C), 1), -1.0)
    residual_CV = probs_CV.scatter_add_(1, target_C[:, None], ones_C1).neg_()
    if isinstance(slope, Tensor) or slope != 1.0:
        residual_CV.mul_(slope)
    return residual_CV, logp_C


class _Head(torch.autograd.Function):
    """`head` with its own backward."""

    @staticmethod
    def forward(
        ctx: Any,
        h_RD: Tensor,
        W_VD: Tensor,
        bias_V: Tensor | None,
        target_R: Tensor,
        shape: Shape,
        with_extras: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        dtype = wide(h_RD.dtype)
        logp_R = torch.empty(len(h_RD), dtype=dtype, device=h_RD.device)
        entropy_R, square_R = (torch.empty_like(logp_R) if with_extras else logp_R.new_empty(0) for _ in range(2))
        needs_h, needs_W, needs_bias = ctx.needs_input_grad[:3]
        only_h = needs_h and not needs_W and not needs_bias
        slope_RD = torch.empty_like(h_RD) if only_h else None
        logits, at = Logits(h_RD, W_VD, bias_V, shape), 0
        for h_CD in logits.chunks:
            chunk = slice(at, at + len(h_CD))
            target_C = target_R[chunk]
            shaped_CV = logits(h_CD)
            if with_extras:
                entropy_R[chunk], square_R[chunk] = _moments(shaped_CV)
            if slope_RD is None:
                logp_R[chunk] = _probs(shaped_CV, target_C)[1]
            else:
                residual_CV, logp_R[chunk] = _residual(shaped_CV, target_C, shape)
                torch.mm(residual_CV.to(W_VD.dtype), W_VD, out=slope_RD[chunk])
            at = chunk.stop
        ctx.shape = shape
        if slope_RD is not None:
            ctx.save_for_backward(slope_RD)
        elif needs_W or needs_bias:
            ctx.save_for_backward(h_RD, W_VD, bias_V, target_R)
        ctx.only_h = only_h
        ctx.mark_non_differentiable(entropy_R, square_R)
        return logp_R, entropy_R, square_R

    @staticmethod
    def backward(ctx: Any, grad_R: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.only_h:
            (slope_RD,) = ctx.saved_tensors
            return (grad_R[:, None] * slope_RD).to(slope_RD.dtype), None, None, None, None, None
        h_RD, W_VD, bias_V, target_R = ctx.saved_tensors
        needs_h, needs_W, needs_bias = ctx.needs_input_grad[:3]
        dtype = wide(W_VD.dtype)
        dh_RD = torch.empty_like(h_RD) if needs_h else None
        dW_VD = torch.zeros(W_VD.shape, dtype=dtype, device=W_VD.device) if needs_W else None
        dbias_V = torch.zeros(len(W_VD), dtype=dtype, device=W_VD.device) if needs_bias else None
        logits, at = Logits(h_RD, W_VD, bias_V, ctx.shape), 0
        for h_CD in logits.chunks:
            chunk = slice(at, at + len(h_CD))
            du_CV = _residual(logits(h_CD), target_R[chunk], ctx.shape)[0].mul_(grad_R[chunk, None])
            if dbias_V is not None:
                dbias_V += du_CV.sum(0)
            du_CV = du_CV.to(W_VD.dtype)
            if dh_RD is not None:
                torch.mm(du_CV, W_VD, out=dh_RD[chunk])
            if dW_VD is not None:
                accumulate(dW_VD, du_CV, h_CD)
            at = chunk.stop
        return (
            dh_RD,
            None if dW_VD is None else dW_VD.to(W_VD.dtype),
            None if dbias_V is None or bias_V is None else dbias_V.to(bias_V.dtype),
            None,
            None,
            None,
        )


_fused: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Head.apply


def accumulate(dW_VD: Tensor, du_CV: Tensor, h_CD: Tensor) -> None:
    """Add duᵀ h to the gradient, in the gradient's dtype."""
    if du_CV.dtype == dW_VD.dtype:
        dW_VD.addmm_(du_CV.t(), h_CD)
    else:
        dW_VD += du_CV.t() @ h_CD


def _moments(shaped_CV: Tensor) -> tuple[Tensor, Tensor]:
    """Return entropy and Σπ² of each row; the logits stay as they are."""
    logp_CV = shaped_CV - shaped_CV.logsumexp(1, keepdim=True)
    probs_CV = logp_CV.exp()
    square_C = probs_CV.square().sum(1)
    return -(probs_CV.mul_(logp_CV)).sum(1), square_C
