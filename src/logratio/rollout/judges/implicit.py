"""A policy as a judge: its implicit reward, β·log-ratio to its reference."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from ...batch.group import Group, scored_masks
from ...batch.packed import pack
from ...errors import JudgeError, ReferenceChoiceError
from ...logps.policy import choose_path
from ...logps.reference import score
from ...logps.subject import Subject, opened, reference_of
from ...models.adapters import reference_view
from ..generate import context
from ..judge import Asked, OnFailure, Verdict, settled
from .tokens import Reader


class ImplicitJudge:
    """Scores by r(x, y) = β·[log π(y|x) − log π_ref(y|x)], summed over the response, end token included.

    Under the model of Rafailov et al. 2023 (arXiv:2305.18290), Eq. 5, that is the reward which the policy is optimal
    for, up to a constant of each prompt: it compares responses of one prompt, not of two.
    """

    def __init__(
        self,
        subject: Subject,
        *,
        reference: Any = None,
        beta: float | None = None,
        on_failure: OnFailure = "stop",
        bin_tokens: int = 1 << 13,
    ) -> None:
        """Load policy and reference, which both stay in memory; an adapter's reference is the weights under it.

        Args:
            subject: A run, or a model with an adapter.
            reference: As `logps.subject.reference_of` takes it; default the run's own.
            beta: β in 1/nat; default the run's, else 0.1.
            on_failure: What to do with a prompt that has no verdict.
            bin_tokens: Tokens a forward pass may hold.

        Raises:
            JudgeError: There is no reference.
            ReferenceChoiceError: The reference reads other tokens, or its weights are not those it began with.
        """
        self._open = ExitStack()
        self._closing = finalize(self, self._open.close)  # at the latest before the interpreter takes modules down
        own, self._policy = self._open.enter_context(opened(subject.source))
        against = reference_of(subject, own, reference)
        if against is None:
            raise JudgeError(
                f"{subject.name} has no reference to take a log-ratio to; give the run directory that trained it."
            )
        self._view: Any = nullcontext
        text = against.text
        if against.source is None:  # the policy's fingerprint is that of the weights under its adapter too
            self._reference, self._view = self._policy, lambda: reference_view(own, "base")
        else:
            other, self._reference = self._open.enter_context(opened(against.source, against.fingerprint))
            if other.tokenizer.get_vocab() != own.tokenizer.get_vocab():
                raise ReferenceChoiceError(
                    f'the tokenizer of the reference "{other.name}" has other tokens than that of {subject.name}, so '
                    "their log-probs cannot be compared; choose a reference with the same tokenizer."
                )
            text += f" (weights {other.fingerprint[:12]})"
        self._reader = Reader(own.tokenizer, subject.template, subject.manifest.get("date"), context(own.model))
        self._on_failure, self._bin_tokens, self._chosen = on_failure, bin_tokens, False
        self.beta = subject.beta if beta is None else beta
        whose = f"{subject.name} (weights {own.fingerprint[:12]})"
        self.description = f"implicit reward of {whose} against {text}, β = {self.beta:g}"

    def __call__(self, asked: Sequence[Asked]) -> list[Verdict]:
        """Return a verdict for each prompt.

        Raises:
            JudgeError: A log-prob is not finite, or a prompt with its response is too long, with "stop".
            TemplateError: Messages without a chat template, or refused by it.
        """
        laid = self._reader.lay(asked)
        scores = self._scores(laid.groups) if laid.groups else []
        verdicts = laid.verdicts(scores, 0.0, self._reader.limit)
        return settled(self.description, asked, verdicts, self._on_failure)

    def _scores(self, groups: Sequence[Group]) -> list[NDArray[np.float64]]:
        if not self._chosen:
            choose_path(self._policy, pack(groups[:4]))
            if self._reference is not self._policy:
                choose_path(self._reference, pack(groups[:4]))
            self._chosen = True
        after = score(self._policy, groups, bin_tokens=self._bin_tokens)
        with self._view():
            before = score(self._reference, groups, bin_tokens=self._bin_tokens)
        scores = []
        for group, own, other in zip(groups, after, before, strict=True):
            ends = np.cumsum([mask.sum() for mask in scored_masks(group)])
            summed = [part.sum() for part in np.split(own.astype(np.float64) - other, ends[:-1])]
            scores.append(self.beta * np.array(summed))
        return scores

    def close(self) -> None:
        """Let go of the models."""
        self._open.close()
