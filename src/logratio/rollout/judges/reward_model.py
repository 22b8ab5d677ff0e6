"""A reward model as a judge: its score at each response's last token, less what the reference's responses score."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np

from ...batch.needs import Needs
from ...batch.packed import pack
from ...errors import JudgeError
from ...files import write_json
from ...logps.policy import choose_path
from ...logps.subject import Subject, opened
from ...logps.whole import by_group, whole
from ..generate import context
from ..judge import Asked, OnFailure, Verdict, settled
from .tokens import Reader

OFFSET = "reward_offset.json"
"""Beside the model's weights: what is taken off its scores so that the reference's responses average 0."""

_SCORE = Needs(head="score")


class RewardModelJudge:
    """Scores by a model with a scalar head, each prompt encoded once for its responses."""

    def __init__(self, subject: Subject, *, on_failure: OnFailure = "stop", bin_tokens: int = 1 << 13) -> None:
        """Load the model, on the GPU if there is one.

        Args:
            subject: A reward model, or a run that trained one.
            on_failure: What to do with a prompt that has no verdict.
            bin_tokens: Tokens a forward pass may hold.

        Raises:
            ModelError: There is no such model, or it has several labels.
            JudgeError: Its offset is that of other weights.
        """
        self._open = ExitStack()
        self._closing = finalize(self, self._open.close)  # at the latest before the interpreter takes modules down
        own, self._policy = self._open.enter_context(opened(subject.source, head="score"))
        self._reader = Reader(own.tokenizer, subject.template, subject.manifest.get("date"), context(own.model))
        self._on_failure, self._bin_tokens, self._chosen = on_failure, bin_tokens, False
        self._folder, self._fingerprint = Path(own.name), own.fingerprint
        self.offset = _stored_offset(self._folder, own.fingerprint)
        normal = "scores as they are" if self.offset is None else f"scores less {self.offset:.4g}"
        self.description = f"reward model {subject.name} (weights {own.fingerprint[:12]}, {normal})"

    def __call__(self, asked: Sequence[Asked]) -> list[Verdict]:
        """Return a verdict for each prompt.

        Raises:
            JudgeError: A score is not finite, or a prompt with its response is too long, with "stop".
            TemplateError: Messages without a chat template, or refused by it.
        """
        laid = self._reader.lay(asked)
        scores: list[Any] = []
        if laid.groups:
            if not self._chosen:
                choose_path(self._policy, pack(laid.groups[:4]), "score")
                self._chosen = True
            forward = partial(self._policy, needs=_SCORE)
            scores, _ = by_group(laid.groups, whole(forward, laid.groups, bin_tokens=self._bin_tokens))
        verdicts = laid.verdicts(scores, self.offset or 0.0, self._reader.limit)
        return settled(self.description, asked, verdicts, self._on_failure)

    def normalise(self, asked: Sequence[Asked], data: str) -> float:
        """Set the offset to the mean score of the reference's responses, each prompt alike; store it beside the model.

        Args:
            asked: Prompts with responses of the reference.
            data: Where these come from, to be recorded.

        Raises:
            JudgeError: Nothing could be scored, or the model's folder is not on this machine's disk.
        """
        before, self.offset = self.offset, None
        means = [float(np.mean(verdict.scores)) for verdict in self(asked) if verdict.scores]
        if not means or not self._folder.is_dir():
            self.offset = before
            why = f"{self._folder} is no folder" if means else f"none of {len(asked)} prompts could be scored"
            raise JudgeError(
                f"{self.description} cannot be normalised, because {why}; download the model, and give "
                "data with responses of the reference."
            )
        self.offset = math.fsum(means) / len(means)
        about = {"offset": self.offset, "prompts": len(means), "data": data, "weights": self._fingerprint}
        write_json(self._folder / OFFSET, about)
        return self.offset

    def close(self) -> None:
        """Let go of the model."""
        self._open.close()


def _stored_offset(folder: Path, fingerprint: str) -> float | None:
    """Return the offset beside a model's weights; None where there is none.

    Raises:
        JudgeError: It cannot be read, or it is that of other weights.
    """
    file = folder / OFFSET
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        offset, weights = float(kept["offset"]), kept["weights"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JudgeError(f"{file} cannot be read ({error}); remove it, or normalise the model again.") from error
    if weights != fingerprint or not math.isfinite(offset):
        raise JudgeError(f"{file} belongs to other weights than the model's; remove it, or normalise again.")
    return offset
