"""KL(π_ref ‖ π) over the vocabulary at each token, from hidden states, without the [R, V] logits ever existing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .head import Logits, Shape, Weights, wide

_AT_ONCE = 2
"""Logits of a chunk, the policy's and the reference's, beside up to five more tensors of their size."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a model puts out at R tokens, before normalisation.

    Attributes:
        h_RD: Hidden states that predict the tokens, [R, D].
        W_VD: Head weight, [V, D], same dtype.
        bias_V: Head bias, [V], or None.
        shape: From W h + b to logits.
    """

    h_RD: Tensor
    W_VD: Tensor
    bias_V: Tensor | None
    shape: Shape

    def logits(self) -> Logits:
        """Return the logits, chunk by chunk, of chunks as `divergence` takes them."""
        return Logits(self.h_RD, self.W_VD, self.bias_V, at_once=_AT_ONCE)


def divergence(reference: Outputs, policy: Outputs) -> Tensor:
    """KL(π_ref ‖ π) of each token's distribution.

        D_r = Σ_v π_ref(v)·[log π_ref(v) − log π(v)]        ∂D/∂z_v = π(v) − π_ref(v), z the policy's logits

    It equals the formula written out on two full log-softmax tables. Rows go through in chunks, so that memory is that
    of a chunk's logits, some seven times. Gradients go to the policy's hidden states, head weight and bias where these
    require them, never to the reference; backward recomputes a chunk's logits.

    Args:
        reference: Of the reference, without gradient.
        policy: Of the policy, over the same vocabulary and the same R tokens.

    Returns:
        D, nats, [R], float32 (float64 where the policy's hidden states are).
    """
    return _fused(policy.h_RD, policy.W_VD, policy.bias_V, policy.shape, reference)


class _Divergence(torch.autograd.Function):
    """`divergence` with its own backward."""

    @staticmethod
    def forward(
        ctx: Any, h_RD: Tensor, W_VD: Tensor, bias_V: Tensor | None, shape: Shape, reference: Outputs
    ) -> Tensor:
        parts = []
        own, other = Outputs(h_RD, W_VD, bias_V, shape).logits(), reference.logits()
        for index in range(len(own.chunks)):
            logp_CV = torch.log_softmax(shape(_widened(own(index))), 1)
            reference_CV = torch.log_softmax(reference.shape(_widened(other(index))), 1)
            parts.append((reference_CV.exp() * (reference_CV - logp_CV)).sum(1))
        ctx.save_for_backward(h_RD, W_VD, bias_V)
        ctx.shape, ctx.reference = shape, reference
        return torch.cat(parts) if parts else h_RD.new_zeros(0, dtype=wide(h_RD.dtype))

    @staticmethod
    def backward(ctx: Any, grad_R: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        h_RD, W_VD, bias_V = ctx.saved_tensors
        needs_h, needs_W, needs_bias = ctx.needs_input_grad[:3]
        dtype = wide(W_VD.dtype)
        dh_RD = torch.zeros_like(h_RD) if needs_h else None
        dW = Weights(W_VD) if needs_W else None
        dbias_V = torch.zeros(len(W_VD), dtype=dtype, device=W_VD.device) if needs_bias else None
        own, other, at = Outputs(h_RD, W_VD, bias_V, ctx.shape).logits(), ctx.reference.logits(), 0
        for index, h_CD in enumerate(own.chunks):
            chunk = slice(at, at + len(h_CD))
            logits_CV = ctx.shape(_widened(own(index)))
            slope = ctx.shape.slope(logits_CV)
            du_CV = torch.softmax(logits_CV, 1)
            du_CV -= torch.softmax(ctx.reference.shape(_widened(other(index))), 1)
            du_CV = du_CV.mul_(slope).mul_(grad_R[chunk, None])
            if dbias_V is not None:
                dbias_V += du_CV.sum(0)
            du_CV = du_CV.to(W_VD.dtype)
            if dh_RD is not None:
                torch.mm(du_CV, W_VD, out=dh_RD[chunk])
            if dW is not None:
                dW.add(du_CV, h_CD)
            at = chunk.stop
        dW_VD = None if dW is None else dW.total()
        return dh_RD, dW_VD, None if dbias_V is None or bias_V is None else dbias_V.to(bias_V.dtype), None, None


def _widened(raw_CV: Tensor) -> Tensor:
    return raw_CV.to(wide(raw_CV.dtype))


_fused: Callable[..., Tensor] = _Divergence.apply
