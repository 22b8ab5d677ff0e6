"""Hidden states → log-probs of target tokens, without the [R, V] logits ever existing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..batch.needs import Extra
from .adding import add_narrow

_BUFFER = 1 << 25
"""Most elements of a chunk's logits, 128 MiB in float32: 512 rows up to V = 65,536, 220 at 152,000."""
_KEPT = 1 << 27
"""Bytes that may stay from the forward to the backward pass, or as many as the head's gradient takes, if more."""
_CACHED = 1 << 20
"""Logits of the rows that are normalised together on a CPU, 4 MiB in float32: they stay in its cache meanwhile."""
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
    that of one chunk's logits, or of those that stay. Gradients are computed only for inputs that require them: with W
    and b frozen, ∂log π/∂h is formed in the forward chunk and logits are never recomputed; otherwise backward finds
    ∂log π/∂u of the last chunks where forward left it, recomputes those that were too many to keep, and accumulates ∂W
    in float32.

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
    kept = _most_kept(W_VD.shape[0], W_VD.shape[1], W_VD.element_size()) if learns else 0
    logp_R, entropy_R, square_R = _fused(h_RD, W_VD, bias_V, target_R, shape, bool(extras), kept)
    values: dict[Extra, Tensor] = {"entropy": entropy_R, "square": square_R}
    return logp_R, {name: values[name] for name in extras}


def _rows(vocabulary: int) -> int:
    return max(_FEWEST_ROWS, min(_MOST_ROWS, _BUFFER // max(vocabulary, 1)))


def held_bytes(V: int, D: int, *, rows: int, width: int, learns: bool, cpu: bool) -> int:
    """Return what a head holds while a bin is under way: logits, and the gradient of its weight on its way.

    Args:
        V: Tokens of the vocabulary.
        D: Width of the hidden states.
        rows: Scored tokens of the bin.
        width: Bytes of the numbers that are multiplied; they are normalised, and gradients added up, in 4.
        learns: Whether weight or bias get a gradient.
        cpu: Whether rows are normalised as many at a time as its cache holds.
    """
    chunk, most = min(rows, _rows(V)) * V, _most_kept(V, D, width) if learns else 0
    logits = max(chunk, min(rows * V, most))
    wide = 0 if width == 4 else 4 * (min(chunk, max(V, _CACHED)) if cpu else chunk)
    in_parts = width < 4 and rows * V > most  # each is multiplied out by itself, and added in float32
    return width * logits + wide + (V * D * (width + 4 * in_parts) if learns else 0)


def _most_kept(V: int, D: int, width: int) -> int:
    return max(_KEPT // width, V * D)


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which logits are normalised and gradients of weights added up."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class Logits:
    """Chunks' raw logits, in the dtype of the products: a ring of at most `kept` elements, and of one chunk at least.

    `at_once`: how many of these a caller has under way; a chunk has the fewer rows where that would be too much.
    """

    def __init__(
        self,
        h_RD: Tensor,
        W_VD: Tensor,
        bias_V: Tensor | None,
        *,
        kept: int = 0,
        at_once: int = 1,
    ) -> None:
        self.h_RD, self.W_DV, self.bias_V = h_RD, W_VD.t(), bias_V
        R, V = len(h_RD), len(W_VD)
        self._rows = -(-R // max(1, -(-R // _rows(at_once * V))))  # of one size: a short last chunk would be slow
        self.chunks = h_RD.split(self._rows) if R else ()
        all_fit = R * V <= kept
        self.buffers = len(self.chunks) if all_fit else max(1, kept // (self._rows * V))
        self._ring = h_RD.new_empty(R if all_fit else self.buffers * self._rows, V)

    def stays(self, chunk: int) -> bool:
        """Whether a chunk's place is still its own when all chunks have been made."""
        return chunk >= len(self.chunks) - self.buffers

    def held(self, chunk: int) -> Tensor:
        """Return what was made of the logits of one of the last `buffers` chunks, [C, V]."""
        at = chunk % self.buffers * self._rows
        return self._ring[at : at + len(self.chunks[chunk])]

    def whole(self) -> Tensor | None:
        """Return what was made of all logits, [R, V]; None where the ring holds fewer."""
        return self._ring if len(self._ring) == len(self.h_RD) else None

    def __call__(self, chunk: int) -> Tensor:
        """Return a chunk's logits, [C, V]; the call for the chunk `buffers` later overwrites them."""
        h_CD, raw_CV = self.chunks[chunk], self.held(chunk)
        if self.bias_V is None:
            return torch.mm(h_CD, self.W_DV, out=raw_CV)
        return torch.addmm(self.bias_V, h_CD, self.W_DV, out=raw_CV)


@dataclass(frozen=True, slots=True)
class _Normalised:
    """What a chunk's logits come to, [C] each: log-probs of the targets, Z = Σ exp(z_v − max z), entropies, Σ π²."""

    logp_C: Tensor
    total_C: Tensor
    entropy_C: Tensor
    square_C: Tensor


def _normalise(
    raw_CV: Tensor, target_C: Tensor, shape: Shape, *, extras: bool = False, residuals: bool = False
) -> _Normalised:
    """Normalise a chunk's raw logits u, which are lost, a few rows at a time.

    With `residuals`, −Z·∂log π(y)/∂u = (exp(z_v − max z) − Z·1[v = y])·∂z/∂u takes their place.
    """
    dtype = wide(raw_CV.dtype)
    logp_C, total_C = (torch.empty(len(raw_CV), dtype=dtype, device=raw_CV.device) for _ in range(2))
    entropy_C, square_C = (torch.empty_like(logp_C) if extras else logp_C[:0] for _ in range(2))
    rows, at = _together(raw_CV), 0
    for raw_BV, target_B1 in zip(raw_CV.split(rows), target_C[:, None].split(rows), strict=True):
        block = slice(at, at := at + len(raw_BV))
        z_BV = shape(raw_BV.to(dtype))
        if extras:
            entropy_C[block], square_C[block] = _moments(z_BV)
        slope = shape.slope(z_BV) if residuals else 1.0
        top_B1, chosen_B1 = z_BV.amax(1, keepdim=True), z_BV.gather(1, target_B1)
        total_B1 = z_BV.sub_(top_B1).exp_().sum(1, keepdim=True)
        logp_C[block] = (chosen_B1 - top_B1 - total_B1.log()).squeeze(1)
        total_C[block] = total_B1.squeeze(1)
        if residuals:
            z_BV.scatter_add_(1, target_B1, -total_B1)
            if not (isinstance(slope, float) and slope == 1.0):
                z_BV.mul_(slope)
            if z_BV.dtype != raw_BV.dtype:
                raw_BV.copy_(z_BV)
    return _Normalised(logp_C, total_C, entropy_C, square_C)


def _together(raw_CV: Tensor) -> int:
    rows, V = raw_CV.shape
    return max(1, _CACHED // V) if raw_CV.device.type == "cpu" else rows


class _Head(torch.autograd.Function):
    """`head` with its own backward.

    A row's factor is applied to what its residuals are multiplied with, [C, D], which spares a pass over [C, V].
    """

    @staticmethod
    def forward(
        ctx: Any,
        h_RD: Tensor,
        W_VD: Tensor,
        bias_V: Tensor | None,
        target_R: Tensor,
        shape: Shape,
        extras: bool,
        kept: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        needs_h, needs_W, needs_bias = ctx.needs_input_grad[:3]
        ctx.only_h = needs_h and not needs_W and not needs_bias
        slope_RD = torch.empty_like(h_RD) if ctx.only_h else None
        logits, at, parts = Logits(h_RD, W_VD, bias_V, kept=kept), 0, []
        for index, h_CD in enumerate(logits.chunks):
            chunk = slice(at, at := at + len(h_CD))
            wanted = ctx.only_h or (kept > 0 and logits.stays(index))
            raw_CV = logits(index)
            part = _normalise(raw_CV, target_R[chunk], shape, extras=extras, residuals=wanted)
            if slope_RD is not None:
                torch.mm(raw_CV, W_VD, out=slope_RD[chunk]).div_(-part.total_C[:, None])
            parts.append(part)
        none = h_RD.new_empty(0, dtype=wide(h_RD.dtype))
        logp_R, total_R, entropy_R, square_R = (
            torch.cat([none, *(getattr(part, name) for part in parts)])
            for name in ("logp_C", "total_C", "entropy_C", "square_C")
        )
        ctx.shape, ctx.logits = shape, logits if kept else None
        if slope_RD is not None:
            ctx.save_for_backward(slope_RD)
        elif needs_W or needs_bias:
            ctx.save_for_backward(h_RD, W_VD, bias_V, target_R, total_R)
        ctx.mark_non_differentiable(entropy_R, square_R)
        return logp_R, entropy_R, square_R

    @staticmethod
    def backward(ctx: Any, grad_R: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.only_h:
            (slope_RD,) = ctx.saved_tensors
            return (grad_R[:, None] * slope_RD).to(slope_RD.dtype), None, None, None, None, None, None
        h_RD, W_VD, bias_V, target_R, total_R = ctx.saved_tensors
        needs_h, needs_W, needs_bias = ctx.needs_input_grad[:3]
        dh_RD = torch.empty_like(h_RD) if needs_h else None
        dW = Weights(W_VD) if needs_W else None
        dbias_V = torch.zeros(len(W_VD), dtype=total_R.dtype, device=W_VD.device) if needs_bias else None
        scale_R1 = -(grad_R / total_R)[:, None]
        for rows, du_CV in _residuals(ctx, h_RD, W_VD, bias_V, target_R):
            if dbias_V is not None:
                dbias_V += torch.mv(du_CV.t(), scale_R1[rows, 0].to(du_CV.dtype))
            if dh_RD is not None:
                torch.mm(du_CV, W_VD, out=dh_RD[rows]).mul_(scale_R1[rows])
            if dW is not None:
                dW.add(du_CV, (h_RD[rows] * scale_R1[rows]).to(h_RD.dtype))
        return (
            dh_RD,
            None if dW is None else dW.total(),
            None if dbias_V is None or bias_V is None else dbias_V.to(bias_V.dtype),
            None,
            None,
            None,
            None,
        )


def _residuals(
    ctx: Any, h_RD: Tensor, W_VD: Tensor, bias_V: Tensor | None, target_R: Tensor
) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows and their residuals [C, V], as they were left or made again.

    All rows' narrow ones come at once, where all were left: products in parts would each be rounded and widened. Of
    wide ones that would save nothing.
    """
    kept, ctx.logits = ctx.logits, None  # they are used up: a second backward pass finds none
    if kept is not None and wide(h_RD.dtype) != h_RD.dtype and (du_RV := kept.whole()) is not None:
        yield slice(0, len(du_RV)), du_RV
        return
    logits, end = kept or Logits(h_RD, W_VD, bias_V), len(h_RD)
    for index, h_CD in reversed(list(enumerate(logits.chunks))):
        rows = slice(end - len(h_CD), end)
        if kept is not None and logits.stays(index):
            du_CV = logits.held(index)
        else:
            du_CV = logits(index)
            _normalise(du_CV, target_R[rows], ctx.shape, residuals=True)
        yield rows, du_CV
        end = rows.start


_fused: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Head.apply


class Weights:
    """The gradient of a head's weight, added up chunk by chunk in the wide dtype, where there are several."""

    def __init__(self, W_VD: Tensor) -> None:
        self._like = W_VD
        self._sum_VD: Tensor | None = None

    def add(self, du_CV: Tensor, h_CD: Tensor) -> None:
        """Add duᵀ h."""
        if self._sum_VD is None:
            self._sum_VD = du_CV.t() @ h_CD
        elif wide(du_CV.dtype) == du_CV.dtype:
            self._sum_VD.addmm_(du_CV.t(), h_CD)
        else:
            self._sum_VD = self._sum_VD.float()  # before the next product is made beside it
            add_narrow(self._sum_VD, du_CV.t() @ h_CD)

    def total(self) -> Tensor:
        """Return the sum in the weight's dtype."""
        return torch.zeros_like(self._like) if self._sum_VD is None else self._sum_VD.to(self._like.dtype)


def _moments(shaped_CV: Tensor) -> tuple[Tensor, Tensor]:
    """Return entropy and Σπ² of each row; the logits stay as they are."""
    logp_CV = shaped_CV - shaped_CV.logsumexp(1, keepdim=True)
    probs_CV = logp_CV.exp()
    square_C = probs_CV.square().sum(1)
    return -(probs_CV.mul_(logp_CV)).sum(1), square_C
