"""Each distinct text is tokenised once, in large batches that are under way together; the latest are remembered."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..batch.group import Ints

_REMEMBERED = 1 << 25  # bytes, twice
_OBJECTS = 300  # bytes of a remembered text beside its characters and ids


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text's tokens.

    Attributes:
        ids: [T] token ids.
        begins: [T] character at which each begins; None where nobody asked.
    """

    ids: Ints
    begins: Ints | None


@dataclass(slots=True)
class Batch:
    """Texts that are being encoded.

    Attributes:
        wanted: Text → whether `begins` is asked for.
        found: What is known of them already.
        new: Texts that this batch encodes.
        elsewhere: Texts that another batch encodes.
        encodings: Of `new`, when they are there; None once they are in `found`.
    """

    wanted: Mapping[str, bool]
    found: dict[str, Tokens] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    elsewhere: dict[str, Batch] = field(default_factory=dict)
    encodings: Future[Sequence[Any]] | None = None


class Texts:
    """Texts and their tokens, without special tokens.

    Memory is bounded: between 32 and 64 MB of the latest texts are known again, so that prompts and responses that come
    back within some tens of thousands of rows cost nothing, however large the data set.
    """

    def __init__(self, backend: Any, beside: Executor) -> None:
        """Bind a `tokenizers.Tokenizer`; padding and truncation, left behind by the last call, are switched off.

        Args:
            backend: What encodes.
            beside: Where it does so: its threads are the library's own, and leave the interpreter free.
        """
        backend.no_padding()
        backend.no_truncation()
        self._backend = backend
        self._beside = beside
        self._coming: dict[str, Batch] = {}
        self._latest: dict[str, Tokens] = {}
        self._before: dict[str, Tokens] = {}
        self._size = 0

    def encode(self, wanted: Mapping[str, bool]) -> dict[str, Tokens]:
        """Return the tokens of texts: `begin` and `finish` at once."""
        return self.finish(self.begin(wanted))

    def begin(self, wanted: Mapping[str, bool]) -> Batch:
        """Begin to encode those texts that are new, as one batch.

        Args:
            wanted: Text → whether `begins` is asked for.
        """
        batch = Batch(wanted)
        for text, asked in wanted.items():
            coming = self._coming.get(text)
            if (tokens := self._known(text)) is not None and (tokens.begins is not None or not asked):
                batch.found[text] = tokens
            elif coming is not None and (coming.wanted[text] or not asked):
                batch.elsewhere[text] = coming
            else:
                batch.new.append(text)
                self._coming[text] = batch
        if batch.new:
            placed = any(wanted[text] for text in batch.new)
            encode = self._backend.encode_batch if placed else self._backend.encode_batch_fast  # which tells no places
            batch.encodings = self._beside.submit(encode, batch.new, add_special_tokens=False)
        return batch

    def finish(self, batch: Batch) -> dict[str, Tokens]:
        """Return the tokens of all texts of a batch."""
        if batch.encodings is not None:
            for text, encoding in zip(batch.new, batch.encodings.result(), strict=True):
                begins = np.array([begin for begin, _ in encoding.offsets], np.int32) if batch.wanted[text] else None
                batch.found[text] = Tokens(np.array(encoding.ids, np.int32), begins)
                self._keep(text, batch.found[text])
                if self._coming.get(text) is batch:
                    del self._coming[text]
            batch.encodings = None
        for text, other in batch.elsewhere.items():
            batch.found[text] = self.finish(other)[text]
        batch.elsewhere.clear()
        return batch.found

    def _known(self, text: str) -> Tokens | None:
        tokens = self._latest.get(text)
        if tokens is None and (tokens := self._before.get(text)) is not None:
            self._keep(text, tokens)
        return tokens

    def _keep(self, text: str, tokens: Tokens) -> None:
        known = self._latest.get(text)
        if known is not None and known.begins is not None:
            return  # it serves whoever asks, and `tokens` may not
        self._latest[text] = tokens
        self._size += sys.getsizeof(text) + tokens.ids.nbytes + _OBJECTS
        if self._size > _REMEMBERED:
            self._before, self._latest, self._size = self._latest, {}, 0
