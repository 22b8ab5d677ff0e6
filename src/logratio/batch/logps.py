"""The floats that a forward pass yields, one per scored token or response."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Logps:
    """Log-probs of a batch's scored tokens under the policy, or a reward model's scores of its responses.

    Attributes:
        policy_R: log π(token | what precedes it), float32 nats, ≤ 0; empty, [0], where the head is a score, since
            there is no distribution then and whoever reads one should fail.
        entropy_R: −Σ_v π(v) log π(v) at each scored token, nats, detached; None unless needed.
        square_R: Σ_v π(v)² at each scored token, in (0, 1], detached; None unless needed.
        divergence_R: KL(π_ref ‖ π) over the vocabulary at each scored token, nats, ≥ 0, with gradient; None unless
            needed.
        auxiliary: A mixture-of-experts model's load-balancing loss over this batch, scalar, its coefficient applied;
            None for other models, and where the head is a score.
        score_S: The scalar head's value at the last token of each response, float32; None where the head is a
            language model's.
        value_R: Value of the state that predicts each scored token, in the unit of rewards, with gradient, float32;
            None unless needed.
    """

    policy_R: Tensor
    entropy_R: Tensor | None = None
    square_R: Tensor | None = None
    auxiliary: Tensor | None = None
    divergence_R: Tensor | None = None
    score_S: Tensor | None = None
    value_R: Tensor | None = None

    def to(self, device: torch.device) -> Logps:
        """Return the same floats on a device; gradients pass."""
        if self.policy_R.device == device:
            return self
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value.to(device) for name, value in values.items() if value is not None})
