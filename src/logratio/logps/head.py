"""Hidden states → log-probs of target tokens, without the [R, V] logits ever existing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..batch.needs import Extra

_BUFFER = 1 << 25
"""Most elements of a chunk's logits, 128 MiB in float32: 512 rows up to V = 65,536, 220 at 152,000."""
_KEPT = 1 << 25
"""Elements that may stay from the forward to the backward pass, or as many as the head's gradient has, if more."""
_MOST_ROWS = 512
_FEWEST_ROWS = 64


@dataclass(frozen=True, slots=True)
class Shape:
    """How raw logits become the ones that are normalised: u = W h + b, z = cap(scale · u) / temperature."""

    scale: float
    softcap: float | None
    temperature: float

    @property
    def factor(self) -> float:
        """∂z/∂u without softcap."""
        return self.scale / self.temperature

    def __call__(self, logits_CV: Tensor) -> Tensor:
        """Shape raw logits in place."""
        if self.softcap is None:
            return logits_CV if self.factor == 1.0 else logits_CV.mul_(self.factor)
        capped = logits_CV.mul_(self.scale / self.softcap).tanh_()
        return capped.mul_(self.softcap / self.temperature)

    def slope(self, shaped_CV: Tensor) -> Tensor | float:
        """Return ∂z/∂u, read off the shaped logits: cap · tanh has slope 1 − (z·temperature/cap)²."""
        if self.softcap is None:
            return self.factor
        return (shaped_CV * (self.temperature / self.softcap)).square_().neg_().add_(1.0).mul_(self.factor)


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
    ∂log π/∂h is formed in the forward chunk and logits are never recomputed; otherwise backward finds the last chunks'
    where forward left them, recomputes those that were too many to keep (all, under a softcap), and accumulates ∂W in
    float32.

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
    learns = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (W_VD, bias_V))
    kept = _most_kept(*W_VD.shape) if learns and softcap is None else 0
    logp_R, entropy_R, square_R = _fused(h_RD, W_VD, bias_V, target_R, shape, bool(extras), kept)
    values: dict[Extra, Tensor] = {"entropy": entropy_R, "square": square_R}
    return logp_R, {name: values[name] for name in extras}


def _rows(vocabulary: int) -> int:
    return max(_FEWEST_ROWS, min(_MOST_ROWS, _BUFFER // max(vocabulary, 1)))


def held_bytes(V: int, D: int, *, rows: int, width: int, learns: bool, softcap: bool) -> int:
    """Return what a head holds while a bin is under way: logits, and the gradient of its weight on its way.

    Args:
        V: Tokens of the vocabulary.
        D: Width of the hidden states.
        rows: Scored tokens of the bin.
        width: Bytes of the numbers that are multiplied; logits and gradients are of 4.
        learns: Whether weight or bias get a gradient.
        softcap: Whether logits are capped, and so not kept.
    """
    chunk = min(rows, _rows(V)) * V
    logits = max(chunk, min(rows * V, _most_kept(V, D))) if learns and not softcap else chunk
    narrow = width if width < 4 else 0
    return 4 * logits + narrow * chunk + ((4 + narrow) * V * D if learns else 0)


def _most_kept(V: int, D: int) -> int:
    return max(_KEPT, V * D)


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which logits are normalised and gradients of weights added up."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class Logits:
    """Chunks' shaped logits in the wide dtype: in a ring of at most `kept` elements, and of one chunk at least.

    `at_once`: how many of these a caller has under way; a chunk has the fewer rows where that would be too much.
    """

    def __init__(
        self,
        h_RD: Tensor,
        W_VD: Tensor,
        bias_V: Tensor | None,
        shape: Shape,
        *,
        kept: int = 0,
        at_once: int = 1,
    ) -> None:
        self.h_RD, self.W_DV, self.bias_V, self.shape = h_RD, W_VD.t(), bias_V, shape
        R, V = len(h_RD), len(W_VD)
        self._rows = -(-R // max(1, -(-R // _rows(at_once * V))))  # of one size: a short last chunk would be slow
        self.chunks = h_RD.split(self._rows) if R else ()
        all_fit = R * V <= kept
        self.buffers = len(self.chunks) if all_fit else max(1, kept // (self._rows * V))
        self._wide = h_RD.new_empty(R if all_fit else self.buffers * self._rows, V, dtype=wide(h_RD.dtype))
        self._raw = self._wide if wide(h_RD.dtype) == h_RD.dtype else h_RD.new_empty(self._rows, V)

    def held(self, chunk: int) -> Tensor:
        """Return what was made of the logits of one of the last `buffers` chunks, [C, V]."""
        at = chunk % self.buffers * self._rows
        return self._wide[at : at + len(self.chunks[chunk])]

    def __call__(self, chunk: int) -> Tensor:
        """Return a chunk's logits, [C, V]; the call for the chunk `buffers` later overwrites them."""
        h_CD, wide_CV = self.chunks[chunk], self.held(chunk)
        raw_CV = wide_CV if self._raw.dtype == wide_CV.dtype else self._raw[: len(h_CD)]
        if self.bias_V is None:
            torch.mm(h_CD, self.W_DV, out=raw_CV)
        else:
            torch.addmm(self.bias_V, h_CD, self.W_DV, out=raw_CV)
        return self.shape(wide_CV if raw_CV is wide_CV else wide_CV.copy_(raw_CV))

    def narrow(self, wide_CV: Tensor) -> Tensor:
        """Return what was made of a chunk's logits in the dtype of the products; the next call overwrites it."""
        return wide_CV if wide_CV.dtype == self._raw.dtype else self._raw[: len(wide_CV)].copy_(wide_CV)


def _residual(shaped_CV: Tensor, target_C: Tensor, top_C: Tensor, total_C: Tensor, shape: Shape) -> Tensor:
    """Turn logits z into −Z·∂log π(y)/∂u = (exp(z_v − top) − Z·1[v = y])·∂z/∂u in place, Z being `total`."""
    slope = shape.slope(shaped_CV)
    shaped_CV.sub_(top_C[:, None]).exp_()
    return _less_target(shaped_CV, target_C, total_C, slope)


def _less_target(exponential_CV: Tensor, target_C: Tensor, total_C: Tensor, slope: Tensor | float) -> Tensor:
    exponential_CV.scatter_add_(1, target_C[:, None], -total_C[:, None])
    return exponential_CV if isinstance(slope, float) and slope == 1.0 else exponential_CV.mul_(slope)


class _Head(torch.autograd.Function):
    """`head` with its own backward.

    A pass over [C, V] costs a tenth of a product: a row's factor is applied to what is multiplied with it, [C, D].
    """

    @staticmethod
    def forward(
        ctx: Any,
        h_RD: Tensor,
        W_VD: Tensor,
        bias_V: Tensor | None,
        target_R: Tensor,
        shape: Shape,
        with_extras: bool,
        kept: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        dtype = wide(h_RD.dtype)
        logp_R = torch.empty(len(h_RD), dtype=dtype, device=h_RD.device)
        top_R, total_R = torch.empty_like(logp_R), torch.empty_like(logp_R)
        entropy_R, square_R = (torch.empty_like(logp_R) if with_extras else logp_R.new_empty(0) for _ in range(2))
        needs_h, needs_W, needs_bias = ctx.needs_input_grad[:3]
        ctx.only_h = needs_h and not needs_W and not needs_bias
        slope_RD = torch.empty_like(h_RD) if ctx.only_h else None
        logits, at = Logits(h_RD, W_VD, bias_V, shape, kept=kept), 0
        for index, h_CD in enumerate(logits.chunks):
            chunk = slice(at, at + len(h_CD))
            target_C = target_R[chunk]
            shaped_CV = logits(index)
            if with_extras:
                entropy_R[chunk], square_R[chunk] = _moments(shaped_CV)
            slope = 1.0 if slope_RD is None else shape.slope(shaped_CV)
            chosen_C = shaped_CV.gather(1, target_C[:, None]).squeeze(1)
            torch.amax(shaped_CV, 1, out=top_R[chunk])
            torch.sum(shaped_CV.sub_(top_R[chunk, None]).exp_(), 1, out=total_R[chunk])
            logp_R[chunk] = chosen_C - top_R[chunk] - total_R[chunk].log()
            if slope_RD is not None:
                du_CV = logits.narrow(_less_target(shaped_CV, target_C, total_R[chunk], slope))
                torch.mm(du_CV, W_VD, out=slope_RD[chunk]).div_(-total_R[chunk, None])
            at = chunk.stop
        ctx.shape, ctx.logits = shape, logits if kept else None
        if slope_RD is not None:
            ctx.save_for_backward(slope_RD)
        elif needs_W or needs_bias:
            ctx.save_for_backward(h_RD, W_VD, bias_V, target_R, top_R, total_R)
        ctx.mark_non_differentiable(entropy_R, square_R)
        return logp_R, entropy_R, square_R

    @staticmethod
    def backward(ctx: Any, grad_R: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.only_h:
            (slope_RD,) = ctx.saved_tensors
            return (grad_R[:, None] * slope_RD).to(slope_RD.dtype), None, None, None, None, None, None
        h_RD, W_VD, bias_V, target_R, top_R, total_R = ctx.saved_tensors
        needs_h, needs_W, needs_bias = ctx.needs_input_grad[:3]
        dh_RD = torch.empty_like(h_RD) if needs_h else None
        dW = Weights(W_VD) if needs_W else None
        dbias_V = torch.zeros(len(W_VD), dtype=total_R.dtype, device=W_VD.device) if needs_bias else None
        scale_R1 = -(grad_R / total_R)[:, None]
        kept, ctx.logits = ctx.logits, None  # they are used up: a second backward pass finds none
        logits, end = kept or Logits(h_RD, W_VD, bias_V, ctx.shape), len(h_RD)
        for index, h_CD in reversed(list(enumerate(logits.chunks))):
            chunk = slice(end - len(h_CD), end)
            if kept and index >= len(logits.chunks) - logits.buffers:
                du_CV = _less_target(logits.held(index), target_R[chunk], total_R[chunk], ctx.shape.factor)
            else:
                du_CV = _residual(logits(index), target_R[chunk], top_R[chunk], total_R[chunk], ctx.shape)
            if dbias_V is not None:
                dbias_V.addmv_(du_CV.t(), scale_R1[chunk, 0])
            du_CV = logits.narrow(du_CV)
            if dh_RD is not None:
                torch.mm(du_CV, W_VD, out=dh_RD[chunk]).mul_(scale_R1[chunk])
            if dW is not None:
                dW.add(du_CV, (h_CD * scale_R1[chunk]).to(h_CD.dtype))
            end = chunk.start
        return (
            dh_RD,
            None if dW is None else dW.total(),
            None if dbias_V is None or bias_V is None else dbias_V.to(bias_V.dtype),
            None,
            None,
            None,
            None,
        )


_fused: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Head.apply


class Weights:
    """The gradient of a head's weight, added up chunk by chunk in the wide dtype."""

    def __init__(self, W_VD: Tensor) -> None:
        self._like = W_VD
        self._sum_VD: Tensor | None = None

    def add(self, du_CV: Tensor, h_CD: Tensor) -> None:
        """Add duᵀ h."""
        if self._sum_VD is None:
            self._sum_VD = (du_CV.t() @ h_CD).to(wide(self._like.dtype))
        elif du_CV.dtype == self._sum_VD.dtype:
            self._sum_VD.addmm_(du_CV.t(), h_CD)
        else:
            self._sum_VD += du_CV.t() @ h_CD

    def total(self) -> Tensor:
        """Return the sum in the weight's dtype."""
        return torch.zeros_like(self._like) if self._sum_VD is None else self._sum_VD.to(self._like.dtype)


def _moments(shaped_CV: Tensor) -> tuple[Tensor, Tensor]:
    """Return entropy and Σπ² of each row; the logits stay as they are."""
    logp_CV = shaped_CV - shaped_CV.logsumexp(1, keepdim=True)
    probs_CV = logp_CV.exp()
    square_C = probs_CV.square().sum(1)
    return -(probs_CV.mul_(logp_CV)).sum(1), square_C
