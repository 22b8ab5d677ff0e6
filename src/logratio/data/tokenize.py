"""Records → tokens: one prompt, the responses that follow it, and which of their tokens carry loss."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ..batch.group import Bools, Ints
from ..config import LossOn
from ..errors import ModelError, TemplateError
from ..records import Origin, Prompt, Record
from .adapt import Kind
from .parts import Part, in_parts
from .problems import EMPTY, IDENTICAL, Unusable
from .shape import Shape, as_chat, shape
from .spans import Draft, Span, draft_chat
from .template import ChatTemplate, Tokenizer, require_eos, wants_bos
from .texts import Batch, Texts, Tokens
from .tokenrows import TokenRow, TokenTally

_CALLS = 2
"""Calls of the tokenizer at once: while what one gave is taken over, which the interpreter does, another encodes."""


@dataclass(frozen=True, slots=True)
class TokenisedPart:
    """The rows that records became, in order.

    Attributes:
        part: The records.
        rows: What can be learned from.
        tally: What tokenising them met.
    """

    part: Part
    rows: list[TokenRow]
    tally: TokenTally


@dataclass(frozen=True, slots=True)
class _Job:
    at: int
    shape: Shape
    draft: Draft
    chat: bool


@dataclass(frozen=True, slots=True)
class _Texts:
    """Tokens of prompts and wholes, and of responses alone where the whole's do not begin with the prompt's."""

    joint: Mapping[str, Tokens]
    alone: Mapping[str, Tokens]


class Encoder:
    """Turns records into rows of tokens, a batch at a time, each text once."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        template: ChatTemplate | None,
        kind: Kind,
        loss_on: LossOn = "response",
        skip_bad_rows: bool = False,
    ) -> None:
        """Read what the tokenizer wants at the two ends of a text.

        Args:
            tokenizer: A transformers tokenizer backed by the tokenizers library.
            template: Its chat template; None treats text as plain, and refuses messages.
            kind: What the records are.
            loss_on: Which assistant turns of a chat carry loss.
            skip_bad_rows: Whether a row that the template cannot render is dropped, not an error.

        Raises:
            ModelError: The tokenizer has no EOS token, or is not backed by the tokenizers library.
        """
        if getattr(tokenizer, "backend_tokenizer", None) is None:
            raise ModelError(
                f"{type(tokenizer).__name__} is not backed by the tokenizers library, which exact token offsets need: "
                "convert it, and save it with a tokenizer.json."
            )
        self._backend = tokenizer.backend_tokenizer
        self._template = template
        self._kind = kind
        self._loss_on = loss_on
        self._skip = skip_bad_rows
        self._eos = require_eos(tokenizer)
        self._special = np.array(sorted(set(tokenizer.all_special_ids)), np.int32)
        self.bos = tokenizer.bos_token_id if wants_bos(tokenizer) else None

    def rows(self, records: Sequence[Record], tally: TokenTally) -> list[TokenRow]:
        """Return the rows of `records` in order; what cannot be learned from is dropped and counted in `tally`.

        Raises:
            TemplateError: As `stream`.
        """
        rows = []
        for made in self.stream(in_parts(records)):
            tally.add(made.tally)
            rows += made.rows
        return rows

    def stream(self, parts: Iterable[Part]) -> Iterator[TokenisedPart]:
        """Yield each part's rows in order, reading and drafting the next parts while this one is tokenised.

        What cannot be learned from is dropped and counted in the part's tally.

        Raises:
            TemplateError: A chat cannot be rendered, or its prompt is no prefix of the whole; names file and row.
        """
        begun: deque[tuple[Part, list[_Job], TokenTally, Batch]] = deque()
        with ThreadPoolExecutor(_CALLS) as beside:
            texts = Texts(self._backend, beside)
            for part in parts:
                tally = TokenTally()
                jobs = [
                    job for at, record in enumerate(part.records) if (job := self._job(part.at + at, record, tally))
                ]
                begun.append((part, jobs, tally, texts.begin(_joint(job.draft for job in jobs))))
                if len(begun) > _CALLS:
                    yield self._finished(texts, *begun.popleft())
            while begun:
                yield self._finished(texts, *begun.popleft())

    def prompts(self, prompts: Sequence[Prompt]) -> list[Ints]:
        """Return the token ids [P] of prompts alone, exactly those that training puts before a response."""
        texts = [self._prompt_text(prompt) for prompt in prompts]
        with ThreadPoolExecutor(1) as beside:
            found = Texts(self._backend, beside).encode(dict.fromkeys(texts, False))
        return [self._begun(found[text].ids) for text in texts]

    def _prompt_text(self, prompt: Prompt) -> str:
        how, chat, _ = as_chat(prompt.prompt, ())
        if isinstance(prompt.prompt, str) and (self._template is None or how == "plain text"):
            return prompt.prompt
        return self._required(prompt.origin).render(chat, tools=prompt.tools, generation=True)

    def _finished(self, texts: Texts, part: Part, jobs: list[_Job], tally: TokenTally, begun: Batch) -> TokenisedPart:
        joint = texts.finish(begun)
        found = _Texts(joint, texts.encode(_apart((job.draft for job in jobs), joint)))
        rows = []
        for job in jobs:
            try:
                rows.append(self._row(job, found, tally))
            except Unusable as reason:
                tally.dropped[str(reason)] += 1
        return TokenisedPart(part, rows, tally)

    def _job(self, at: int, record: Record, tally: TokenTally) -> _Job | None:
        try:
            form = shape(record, self._kind)
            draft, chat, how = self._draft(form)
        except Unusable as reason:
            tally.dropped[str(reason)] += 1
            return None
        except TemplateError as error:
            if self._template is None:  # no fault of this row: none with messages can be rendered
                raise
            if not self._skip:
                raise TemplateError(f"{record.origin}: {error}") from error
            tally.show("unrendered", f"{record.origin}: {error}")
            tally.dropped["not renderable by the template"] += 1
            return None
        tally.rendered[how] += 1
        tally.counts["early"] += draft.early
        if draft.swallowed is not None:
            tally.show("swallowed", f"{record.origin}: {draft.swallowed}")
        return _Job(at, form, draft, chat)

    def _draft(self, form: Shape) -> tuple[Draft, bool, str]:
        """Return the texts of a row, whether they are a chat, and how it became one."""
        texts = [text for text in (form.prompt, *form.responses) if isinstance(text, str)]
        strings = len(texts) == 1 + len(form.responses)
        if strings and self._template is None:
            return _plain(texts), False, "plain text"
        how, prompt, responses = as_chat(form.prompt, form.responses)
        if strings and how == "plain text":
            return _plain(texts), False, how
        template = self._required(form.origin)
        return draft_chat(template, prompt, responses, tools=form.tools, loss_on=self._loss_on), True, how

    def _required(self, origin: Origin) -> ChatTemplate:
        if self._template is None:
            raise TemplateError(
                f"{origin} holds messages, and no chat template is in use, so their text is undefined: take a model "
                "whose tokenizer has one (template.use=auto), or bring prompts and responses as strings."
            )
        return self._template

    def _row(self, job: _Job, texts: _Texts, tally: TokenTally) -> TokenRow:
        draft, form = job.draft, job.shape
        before = texts.joint[draft.prompt].ids
        responses, masks = [], []
        for whole, turns in zip(draft.wholes, draft.turns, strict=True):
            tokens, skip, shift = texts.joint[whole], len(before), 0
            if not _begins(tokens.ids, before):
                tokens, skip, shift = texts.alone[whole[len(draft.prompt) :]], 0, len(draft.prompt)
                tally.show("merged", f"{form.origin}: …{whole[max(0, shift - 12) : shift]!r} + {whole[shift:][:12]!r}")
            begins = None if turns is None or tokens.begins is None else tokens.begins[skip:] + shift
            response, mask = self._response(tokens.ids[skip:], begins, turns, job.chat)
            responses.append(response)
            masks.append(mask)
        edges = form.edges
        if edges:
            contents = [response.tobytes() for response in responses]
            edges = tuple(edge for edge in edges if contents[edge[0]] != contents[edge[1]])
            if not edges:
                raise Unusable(IDENTICAL)
        return TokenRow(
            at=job.at,
            prompt=self._begun(before),
            responses=tuple(responses),
            loss=tuple(masks),
            edges=form.edge_array(edges),
            response=form.response_columns(),
            edge=form.edge_columns(edges),
            origin=form.origin,
        )

    def _response(
        self, tokens: Ints, begins: Ints | None, turns: tuple[Span, ...] | None, chat: bool
    ) -> tuple[Ints, Bools]:
        """Return a response that ends with exactly one end token, and its loss mask."""
        if not chat and self.bos is not None:
            while len(tokens) and tokens[0] == self.bos:
                tokens = tokens[1:]
        if begins is None or turns is None:
            response = self._ended(tokens, 0, chat)
            if len(response) == 1:
                raise Unusable(EMPTY)
            return response, np.ones(len(response), dtype=np.bool_)
        last = int(np.searchsorted(begins, turns[-1][0]))
        response = self._ended(tokens, last, chat)
        mask = np.zeros(len(response), dtype=np.bool_)
        for begin, end in turns[:-1]:
            first, stop = np.searchsorted(begins, (begin, end))
            mask[first : first + self._length(tokens[first:stop])] = True
        mask[last:] = True
        return response, mask

    def _length(self, turn: Ints) -> int:
        """Return how many of an earlier turn's tokens are the assistant's: up to its end-of-turn token."""
        end = self._last(turn, 0)
        return len(turn) if end is None else end + 1

    def _last(self, tokens: Ints, begin: int) -> int | None:
        """Return where the last turn's end token is: the template's, or else the last special token."""
        turn = tokens[begin:]
        end = self._template.end_of_turn if self._template else None
        found = np.flatnonzero(turn == end) if end is not None else turn[:0]
        if not len(found):
            found = np.flatnonzero(np.isin(turn, self._special))
        return begin + int(found[-1]) if len(found) else None

    def _ended(self, tokens: Ints, begin: int, chat: bool) -> Ints:
        """Cut what follows the last turn's end token, and leave one such token; plain text ends with EOS."""
        at = self._last(tokens, begin) if chat else None
        end = self._eos if at is None else int(tokens[at])
        stop = len(tokens) if at is None else at
        while stop > begin and tokens[stop - 1] in (end, self._eos):
            stop -= 1
        ended = np.empty(stop + 1, np.int32)
        ended[:stop], ended[stop] = tokens[:stop], end
        return ended

    def _begun(self, prompt: Ints) -> Ints:
        """Return a prompt that begins with exactly one BOS if the tokenizer wants one."""
        if self.bos is None:
            return prompt
        first = next((at for at, token in enumerate(prompt) if token != self.bos), len(prompt))
        return np.concatenate([np.array([self.bos], np.int32), prompt[first:]])


def _joint(drafts: Iterable[Draft]) -> dict[str, bool]:
    """Return prompts and wholes, and of which the begin of each token is needed."""
    wanted: dict[str, bool] = {}
    for draft in drafts:
        wanted.setdefault(draft.prompt, False)
        for whole, turns in zip(draft.wholes, draft.turns, strict=True):
            wanted[whole] = wanted.get(whole, False) or turns is not None
    return wanted


def _apart(drafts: Iterable[Draft], joint: Mapping[str, Tokens]) -> dict[str, bool]:
    """Return, likewise, the responses whose whole does not begin with the tokens of its prompt."""
    apart: dict[str, bool] = {}
    for draft in drafts:
        before = joint[draft.prompt].ids
        for whole, turns in zip(draft.wholes, draft.turns, strict=True):
            if not _begins(joint[whole].ids, before):
                alone = whole[len(draft.prompt) :]
                apart[alone] = apart.get(alone, False) or turns is not None
    return apart


def _plain(texts: Sequence[str]) -> Draft:
    prompt, *responses = texts
    return Draft(prompt, tuple(prompt + response for response in responses), (None,) * len(responses))


def _begins(whole: Ints, before: Ints) -> bool:
    return whole[: len(before)].tobytes() == before.tobytes()  # a fifth of the time that comparing arrays takes
