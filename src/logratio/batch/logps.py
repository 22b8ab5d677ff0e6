"""The floats that a forward pass yields, one per scored token."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Logps:
    """Log-probs of a batch's scored tokens under the policy.

    Attributes:
        policy_R: log π(token | what precedes it), float32 nats, ≤ 0.
        entropy_R: −Σ_v π(v) log π(v) at each scored token, nats, detached; None unless needed.
        square_R: Σ_v π(v)² at each scored token, in (0, 1], detached; None unless needed.
        divergence_R: KL(π_ref ‖ π) over the vocabulary at each scored token, nats, ≥ 0, with gradient; None unless
            needed.
        auxiliary: A mixture-of-experts model's load-balancing loss over this batch, scalar, its coefficient applied;
            None for other models.
    """

    policy_R: Tensor
    entropy_R: Tensor | None = None
    square_R: Tensor | None = None
    auxiliary: Tensor | None = None
    divergence_R: Tensor | None = None
