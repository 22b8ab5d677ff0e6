"""What a world's texts claim, as cues: what an implicit reward learned there can be held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..models.build import SPECIAL
from .grammar import Claim
from .lexicon import VERDICT
from .reward import UNREAD_MOST, sentences
from .world import World

UNREAD = "unread sentences"

Table = Callable[[Sequence[str], Sequence[str]], tuple[Sequence[str], NDArray[np.float64]]]


def aspect_table(world: World) -> Table:
    """Return the function (texts, prompts) → (names, [N, C]) that tells what texts claim, as `cues.table` tells cues.

    Of each aspect, the verdict included, the sum of the polarities claimed, each once, in −1, 0 or 1; and how many
    sentences cannot be read, at most as many as the reward counts. The true reward is their plain sum, the last
    negative. A text is read with its prompt, whose special tokens are left out.
    """
    aspects = [*world.grammar.lexicon.by_name, VERDICT]
    known: dict[str, tuple[Claim, ...] | None] = {}

    def read(text: str) -> list[float]:
        said = []
        for sentence in sentences(text):
            if sentence not in known:
                known[sentence] = world.grammar.read(sentence)
            said.append(known[sentence])
        claims = {claim for own in said if own is not None for claim in own}
        polarity = [float(sum(claim.polarity for claim in claims if claim.aspect == name)) for name in aspects]
        return [*polarity, float(min(said.count(None), UNREAD_MOST))]

    def table(texts: Sequence[str], prompts: Sequence[str]) -> tuple[Sequence[str], NDArray[np.float64]]:
        rows = [read(_plain(prompt) + text) for text, prompt in zip(texts, prompts, strict=True)]
        return (*aspects, UNREAD), np.array(rows, np.float64).reshape(len(rows), len(aspects) + 1)

    return table


def _plain(prompt: str) -> str:
    for token in SPECIAL:
        prompt = prompt.replace(token, "")
    return prompt
