"""Prompts with their responses as a judge that is a model reads them: by its own tokenizer and chat template."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...batch.group import Group
from ...config import TemplateConfig
from ...data.template import ChatTemplate, require_eos
from ...data.tokenize import Encoder
from ...data.tokenrows import TokenRow, TokenTally
from ...records import Demonstration, Origin, Prompt
from ..judge import Asked, Verdict


@dataclass(frozen=True)
class Laid:
    """Responses of some prompts as groups, each prompt once and equal responses once.

    Attributes:
        groups: What is to be scored.
        places: For each prompt and response, its group and its number there; a group of −1: too long for the model.
        tokens: For each prompt, the most tokens that it has with a response.
    """

    groups: list[Group]
    places: list[list[tuple[int, int]]]
    tokens: list[int]

    def verdicts(self, scores: Sequence[NDArray[np.floating[Any]]], offset: float, limit: int | None) -> list[Verdict]:
        """Return a verdict for each prompt.

        Args:
            scores: Of each group, [K].
            offset: Taken off every score.
            limit: Positions that the model knows.
        """
        return [
            Verdict(failed=f"prompt and response have {most} tokens and the judge's model knows {limit} positions")
            if any(group < 0 for group, _ in places)
            else Verdict(scores=tuple(float(scores[group][member]) - offset for group, member in places))
            for places, most in zip(self.places, self.tokens, strict=True)
        ]


class Reader:
    """Turns prompts with responses into groups."""

    def __init__(self, tokenizer: Any, template: TemplateConfig, date: str | None, limit: int | None) -> None:
        """Take over how a model was taught to read.

        Args:
            tokenizer: The model's own.
            template: Whether its chat template is used, with the values passed to it.
            date: ISO date that a template which reads the clock is told; default today (UTC).
            limit: Tokens that a prompt and a response may have together; None: as many as they like.
        """
        chat = None
        if template.use == "auto" and tokenizer.chat_template:
            today = datetime.datetime.now(datetime.UTC).date().isoformat()
            chat = ChatTemplate(tokenizer, template.kwargs, date or today)
        self._encoder = Encoder(tokenizer, template=chat, kind="demonstrations")
        end = chat.end_of_turn if chat else None
        self._nothing = np.array([require_eos(tokenizer) if end is None else end], np.int32)
        self.limit = limit

    def lay(self, asked: Sequence[Asked]) -> Laid:
        """Tokenise; a response ends with the end token, whether or not it did when it was sampled.

        An empty response is the end token alone.

        Raises:
            TemplateError: Messages without a chat template, or refused by it.
        """
        texts = [list(dict.fromkeys(one.responses)) for one in asked]
        rows = self._rows(asked, texts)
        laid = Laid([], [], [])
        for number, (one, own) in enumerate(zip(asked, texts, strict=True)):
            found = dict(zip(own, rows[number], strict=True))
            laid.tokens.append(max((len(row.prompt) + len(row.responses[0]) for row in found.values()), default=0))
            if self.limit is not None and laid.tokens[-1] > self.limit:
                laid.places.append([(-1, 0)] * len(one.responses))
                continue
            where = _grouped(laid.groups, number, found)
            laid.places.append([where[text] for text in one.responses])
        return laid

    def _rows(self, asked: Sequence[Asked], texts: Sequence[Sequence[str]]) -> list[list[TokenRow]]:
        """Return one row for every distinct response of every prompt."""
        records = [
            Demonstration(prompt=one.prompt, response=text, origin=Origin("judged prompts", number))
            for number, (one, own) in enumerate(zip(asked, texts, strict=True), 1)
            for text in own
        ]
        made = {row.at: row for row in self._encoder.rows(records, TokenTally())}
        lost = [at for at in range(len(records)) if at not in made]  # empty plain text, which nobody can learn from
        prompts = [Prompt(prompt=records[at].prompt, origin=records[at].origin) for at in lost]
        for at, prompt in zip(lost, self._encoder.prompts(prompts) if prompts else [], strict=True):
            whole = np.ones(1, np.bool_)
            edges = np.zeros((0, 2), np.int32)
            made[at] = TokenRow(at, prompt, (self._nothing,), (whole,), edges, {}, {}, records[at].origin)
        ends = np.cumsum([len(own) for own in texts])
        return [[made[at] for at in range(end - len(own), end)] for own, end in zip(texts, ends, strict=True)]


def _grouped(groups: list[Group], number: int, rows: dict[str, TokenRow]) -> dict[str, tuple[int, int]]:
    """Append the groups of one prompt's responses; return where each lies.

    There is one group but where tokens of a prompt depend on what follows it.
    """
    by_prompt: dict[bytes, list[str]] = {}
    for text, row in rows.items():
        by_prompt.setdefault(row.prompt.tobytes(), []).append(text)
    where: dict[str, tuple[int, int]] = {}
    for members in by_prompt.values():
        where |= {text: (len(groups), member) for member, text in enumerate(members)}
        own = [rows[text] for text in members]
        responses, loss = tuple(row.responses[0] for row in own), tuple(row.loss[0] for row in own)
        groups.append(Group(number, own[0].prompt, responses, loss, np.zeros((0, 2), np.int32)))
    return where
