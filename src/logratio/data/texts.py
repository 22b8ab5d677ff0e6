"""Each distinct text is tokenised once, in large batches; the latest ones are remembered."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
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


class Texts:
    """Texts and their tokens, without special tokens.

    Memory is bounded: between 32 and 64 MB of the latest texts are known again, so that prompts and responses that come
    back within some tens of thousands of rows cost nothing, however large the data set.
    """

    def __init__(self, backend: Any) -> None:
        """Bind a `tokenizers.Tokenizer`; padding and truncation, left behind by the last call, are switched off."""
        backend.no_padding()
        backend.no_truncation()
        self._backend = backend
        self._latest: dict[str, Tokens] = {}
        self._before: dict[str, Tokens] = {}
        self._size = 0

    def encode(self, wanted: Mapping[str, bool]) -> dict[str, Tokens]:
        """Return the tokens of texts, encoding those that are new as one batch.

        Args:
            wanted: Text → whether `begins` is asked for.
        """
        found: dict[str, Tokens] = {}
        for text, asked in wanted.items():
            tokens = self._latest.get(text)
            if tokens is None and (tokens := self._before.get(text)) is not None:
                self._keep(text, tokens)
            if tokens is not None and (tokens.begins is not None or not asked):
                found[text] = tokens
        missing = [text for text in wanted if text not in found]
        encodings = self._backend.encode_batch(missing, add_special_tokens=False) if missing else []
        for text, encoding in zip(missing, encodings, strict=True):
            begins = np.array([begin for begin, _ in encoding.offsets], np.int32) if wanted[text] else None
            found[text] = Tokens(np.array(encoding.ids, np.int32), begins)
            self._keep(text, found[text])
        return found

    def _keep(self, text: str, tokens: Tokens) -> None:
        self._latest[text] = tokens
        self._size += sys.getsizeof(text) + tokens.ids.nbytes + _OBJECTS
        if self._size > _REMEMBERED:
            self._before, self._latest, self._size = self._latest, {}, 0
