"""The model as the loop calls it: body, gather and head inside one forward."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..batch.group import Group
from ..batch.logps import Logps
from ..batch.needs import Head, Needs
from ..batch.packed import PackedBatch, pack
from ..errors import ModelError
from ..models import anatomy
from .divergence import Outputs, divergence
from .head import Shape, head
from .plain import plain, table
from .score import at_ends, plain_scores, score
from .trunk import Trunk, overheard
from .value import Critic, ValueHead, at_sources

Path = Literal["auto", "shared", "plain"]

TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-4, torch.bfloat16: 0.1, torch.float16: 0.02}
"""Largest difference in nats between the paths, of one token's log-prob, that counts as rounding. One sequence's
log-probs differ between bins by up to 6e-5 in float32 and 0.03 in bfloat16."""


class Policy(nn.Module):
    """A causal language model that answers with log-probs of scored tokens, or a reward model with scores.

    It is what FSDP2 wraps: no weight is read outside `forward`, and the batch's layout travels as an argument.

        >>> policy = Policy(model)
        >>> batch = pack(groups[:2])
        >>> logps = policy(batch, Needs(extras=("entropy",)))
        >>> logps.policy_R.shape == logps.entropy_R.shape == batch.target_R.shape
        True
        >>> choose_path(policy, batch)
        'shared'

    Attributes:
        model: The transformers (or PEFT) model.
        value: What gives the values, or None.
        reason: Why the path is what it is, one sentence to print.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        path: Path = "auto",
        checkpointing: bool = False,
        value: ValueHead | Critic | None = None,
    ) -> None:
        """Wrap a model.

        Args:
            model: The transformers (or PEFT) model.
            path: "shared" encodes a prompt once for all its responses, "plain" runs one response per row, "auto"
                shares unless the architecture cannot; `choose_path` then compares both on a first batch.
            checkpointing: Recompute activations in the backward pass.
            value: What gives the values that an objective may need; a critic takes the path that the policy takes.

        Raises:
            ModelError: "shared" is asked of an architecture that cannot share.
        """
        super().__init__()
        self.model = model
        self.value = value
        self._trunk = Trunk(model)
        obstacle = anatomy.obstacle(model)
        if isinstance(value, Critic):
            obstacle = obstacle or anatomy.obstacle(value.model)
        if path == "shared" and obstacle:
            raise ModelError(f"path: shared was asked for, but {obstacle}; use path: auto or plain.")
        if path == "plain" or obstacle:
            self.take("plain", obstacle or "asked for")
        else:
            self.take("shared", "asked for" if path == "shared" else "not compared with the plain path yet")
        if checkpointing:
            anatomy.recompute_activations(model)

    @property
    def path(self) -> Literal["shared", "plain"]:
        """The path that `forward` takes."""
        return self._path

    def take(self, path: Literal["shared", "plain"], reason: str) -> None:
        """Set the path, with the reason to print."""
        self._path: Literal["shared", "plain"] = path
        self.reason = reason
        for part in (self._trunk, self.value):
            if part is not None:
                part.take(shared=path == "shared")

    def forward(self, batch: PackedBatch, needs: Needs, against: Outputs | Tensor | None = None) -> Logps:
        """Return the log-probs of the batch's scored tokens, or the scores of its responses.

        An empty batch runs one token and returns empty floats that hang on the graph, so that a rank without a bin
        still takes part in collectives.

        Args:
            batch: Groups.
            needs: What is wanted of them.
            against: The reference's `outputs` on the same batch, where the divergence from it is needed.
        """
        responses = batch.responses
        batch = self._here(batch if responses else _one_token())
        if needs.head == "score":
            score_S = self._scores(batch)[:responses]
            return Logps(score_S.detach()[:0], score_S=score_S)
        if self._path == "plain":
            return self._plainly(batch, needs, against if isinstance(against, Tensor) else None)
        own, auxiliary = self._encoded(batch, needs)
        logp_R, extras = head(
            own.h_RD,
            own.W_VD,
            own.bias_V,
            batch.target_R,
            scale=own.shape.scale,
            softcap=own.shape.softcap,
            temperature=own.shape.temperature,
            extras=needs.extras,
        )
        apart_R = divergence(against, own) if isinstance(against, Outputs) else None
        value_R = self._values(batch, own.h_RD) if needs.value else None
        return Logps(logp_R, extras.get("entropy"), extras.get("square"), auxiliary, apart_R, value_R=value_R)

    def outputs(self, batch: PackedBatch, needs: Needs) -> Outputs | Tensor:
        """Return, without gradient, what `forward` of another policy on the same path takes as `against`.

        Hidden states with the head, or on the plain path log-probs of the whole vocabulary, [R, V]. A head that is
        trained is copied, since by the time it is used the weights may be another distribution's.
        """
        with torch.no_grad():
            batch = self._here(batch)
            if self._path == "plain":
                return table(self.model, batch, needs)[0]
            own = self._encoded(batch, needs)[0]
            head_layer = anatomy.unwrapped(self.model).get_output_embeddings()
            if not any(weight.requires_grad for weight in head_layer.parameters()):
                return own
            return replace(own, W_VD=own.W_VD.clone(), bias_V=None if own.bias_V is None else own.bias_V.clone())

    def _here(self, batch: PackedBatch) -> PackedBatch:
        """Return the batch beside the weights, less running values: float64, which not all devices have."""
        return batch.with_state({}).to(next(self.model.parameters()).device)

    def _plainly(self, batch: PackedBatch, needs: Needs, reference_RV: Tensor | None) -> Logps:
        if not needs.value:
            return plain(self.model, batch, needs, reference_RV)
        with overheard(self.model) as heard:
            logps = plain(self.model, batch, needs, reference_RV)
        return replace(logps, value_R=self._values(batch, at_sources(heard[0], batch)))

    def _values(self, batch: PackedBatch, h_RD: Tensor) -> Tensor:
        if self.value is None:
            raise ModelError("values are asked of a policy without a value part; give Policy(value=…) one.")
        value_R: Tensor = self.value(batch, h_RD, shared=self._path == "shared")
        return value_R

    def _scores(self, batch: PackedBatch) -> Tensor:
        if self._path == "plain":
            return plain_scores(self.model, batch)
        h_TD = self._trunk.run(batch).last_hidden_state[0]
        return score(self.model, h_TD.index_select(0, at_ends(batch)))

    def _encoded(self, batch: PackedBatch, needs: Needs) -> tuple[Outputs, Tensor | None]:
        """Return the shared path's hidden states with the head, and a mixture-of-experts model's loss."""
        coefficient = anatomy.router_coefficient(self.model)
        output = self._trunk.run(batch, **({} if coefficient is None else {"output_router_logits": True}))
        h_RD = output.last_hidden_state[0].index_select(0, batch.source_R)
        parts = anatomy.head_parts(self.model)
        shape = Shape(parts.scale, parts.softcap, needs.temperature)
        auxiliary = None
        if coefficient is not None:
            auxiliary = coefficient * anatomy.router_loss(self.model, output.router_logits, _multiplicity(batch))
        return Outputs(h_RD, parts.weight_VD.to(h_RD.dtype), parts.bias_V, shape), auxiliary


def choose_path(policy: Policy, batch: PackedBatch, head: Head = "lm") -> str:
    """Compare both paths on a real batch and keep the shared one if they agree; return the path.

    The criterion is the largest difference of a token's log-prob, |Δ| ≤ tolerance·max(1, |log π|), or of a response's
    score, with `TOLERANCE` of the model's dtype. The outcome and its reason stay in `policy.path` and `policy.reason`.
    """
    if policy.path == "plain":
        return policy.path
    needs, name = (
        Needs(head=head, value=isinstance(policy.value, Critic)),
        type(anatomy.unwrapped(policy.model)).__name__,
    )
    with torch.no_grad():
        try:
            shared = _floats(policy(batch, needs))
        except ModelError as error:
            policy.take("plain", str(error))
            return policy.path
        policy.take("plain", "compared with the shared path")
        plain = _floats(policy(batch, needs))
    tolerance = TOLERANCE[next(policy.parameters()).dtype]
    difference = (shared - plain).abs() / plain.abs().clamp(min=1.0)
    worst = float(difference.max()) if len(difference) else 0.0
    compared = "tokens" if head == "lm" else "responses"
    figures = f"on {len(plain)} {compared} of the first batch (tolerance {tolerance:g})"
    if worst <= tolerance:
        policy.take("shared", f"equal to the plain path within {worst:.1e} nat {figures}")
    else:
        policy.take("plain", f"{name} differs by {worst:.1e} nat when prompts are shared, {figures}")
    return policy.path


def _floats(logps: Logps) -> Tensor:
    own = logps.policy_R if logps.score_S is None else logps.score_S
    return own if logps.value_R is None else torch.cat((own, logps.value_R.to(own)))


def _one_token() -> PackedBatch:
    """Return a batch of one token of id 0, of which nothing is scored."""
    token = np.zeros(1, dtype=np.int32)
    unscored = np.zeros(1, dtype=np.bool_)
    return pack([Group(0, token[:0], (token,), (unscored,), np.zeros((0, 2), dtype=np.int32))])


def _multiplicity(batch: PackedBatch) -> Tensor:
    """Return how many rows of the plain path each packed token stands for: its group's K in prompts, else 1, pads 0."""
    spans = batch.spans
    count_T = torch.ones_like(batch.tokens_T)
    count_T[batch.tokens :] = 0
    responses_G = torch.bincount(spans.group_S, minlength=len(spans.prompt_length_G))
    for start, length, responses in zip(
        spans.prompt_start_G.tolist(), spans.prompt_length_G.tolist(), responses_G.tolist(), strict=True
    ):
        count_T[start : start + length] = responses
    return count_T
