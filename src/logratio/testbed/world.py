"""A world: prompts, demonstrations and preferences whose every probability is known."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal
from zlib import crc32

from numpy.random import Generator
from tokenizers import Tokenizer

from ..maths.counter import stream
from ..models.build import SPECIAL, UNK
from .grammar import Grammar, grammar
from .lexicon import Size
from .review import Review, write_review
from .reward import Reward

Split = Literal["train", "held_out"]

PREFERENCE_SCALE = 1.0  # units of r*: a difference of one claim is seen by σ(1) = 73 % of judgements
HELD_OUT = 5  # one prompt in so many, by its hash, is kept from every kind of training
SHORTEST, LONGEST = 2, 8  # tokens of a prompt
_PIECE = r" ?[A-Za-z]+|[^A-Za-z]"


@dataclass(frozen=True)
class Scale:
    """Constants of one size.

    Attributes:
        claims: Most claims of a demonstration, its verdict apart.
        response: Most tokens of a response, end token included.
        hidden: Width of the model.
        inner: Width of its gated layers.
        layers: Its blocks.
        heads: Its attention heads.
    """

    claims: int
    response: int
    hidden: int
    inner: int
    layers: int
    heads: int


SCALES: dict[Size, Scale] = {
    "nano": Scale(claims=3, response=40, hidden=64, inner=160, layers=2, heads=4),
    "small": Scale(claims=5, response=72, hidden=128, inner=320, layers=3, heads=4),
}


def split_of(prompt: str) -> Split:
    """Return the side that a prompt is on, whatever the seed and however many are drawn."""
    return "train" if crc32(prompt.encode()) % HELD_OUT else "held_out"


def pieces(text: str) -> list[str]:
    """Cut a text into words, each with the space before it, and single other characters: the tokens."""
    return re.findall(_PIECE, text)


class World:
    """One size of the world and one seed: its texts, tokenizer, true reward and judge.

    Attributes:
        size: `nano` or `small`.
        seed: Seed of every draw.
        scale: Constants of the size.
        grammar: What can be said.
        reward: r*, on whole texts.
    """

    def __init__(self, size: Size, seed: int) -> None:
        self.size, self.seed = size, seed
        self.scale = SCALES[size]
        self.grammar: Grammar = grammar(size)
        self.reward = Reward(self.grammar)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """One token a word, the space before it included; lossless on every review. The same for every seed."""
        from tokenizers import Regex, decoders, models, pre_tokenizers

        first, words = self.grammar.vocabulary
        vocabulary = [*SPECIAL, ".", ",", *first, *(f" {word}" for word in words)]
        made = Tokenizer(models.WordLevel({token: i for i, token in enumerate(vocabulary)}, unk_token=UNK))
        made.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECE), behavior="isolated")
        made.decoder = decoders.Fuse()
        return made

    def demonstrations(self, n: int) -> Iterator[dict[str, str]]:
        """Yield n rows `prompt`, `completion`: reviews cut after their first few words, none at a held-out prompt."""
        rows = ((prompt, review) for prompt, review in self._cut("demonstrations") if split_of(prompt) == "train")
        for _, (prompt, review) in zip(range(n), rows, strict=False):
            yield {"prompt": prompt, "completion": review.text[len(prompt) :]}

    def prompts(self, split: Split, n: int) -> list[str]:
        """Return n different prompts of one side."""
        found: dict[str, None] = {}
        for prompt, _ in self._cut(f"prompts of {split}"):
            if split_of(prompt) == split:
                found[prompt] = None
            if len(found) == n:
                break
        return list(found)

    def prefer(self, reward_a: float, reward_b: float, rng: Generator) -> bool:
        """Draw whether a is preferred: Bradley–Terry, P(a ≻ b) = σ((r_a − r_b) / scale)."""
        return bool(rng.random() < preference(reward_a, reward_b))

    def _cut(self, purpose: str) -> Iterator[tuple[str, Review]]:
        """Yield (prompt, review) without end; reviews whose rest is too long for a response are passed over."""
        row = 0
        while True:
            rng = stream(self.seed, purpose, row)
            review = write_review(self.grammar, self.scale.claims, rng)
            tokens = pieces(review.text)
            at = min(SHORTEST + int(rng.random() * (LONGEST - SHORTEST + 1)), len(tokens) - 1)
            if len(tokens) - at < self.scale.response:
                yield "".join(tokens[:at]), review
            row += 1


def preference(reward_a: float, reward_b: float) -> float:
    """Return P(a ≻ b) = σ((r_a − r_b) / scale), in [0, 1]."""
    return (1 + math.tanh((reward_a - reward_b) / PREFERENCE_SCALE / 2)) / 2  # σ, without overflow


def preference_rows(
    world: World, prompts: Sequence[str], responses: Sequence[Sequence[str]], scores: Sequence[Sequence[float]]
) -> Iterator[dict[str, str]]:
    """Judge every response against its neighbour: the first with the second, and so on.

    Args:
        world: Whose judge it is.
        prompts: P prompts.
        responses: K texts each, K even.
        scores: What the judge sees of them: r* of prompt and response, or a proxy.

    Yields:
        Rows `prompt`, `chosen`, `rejected`; identical responses are passed over.
    """
    for row, (prompt, texts, seen) in enumerate(zip(prompts, responses, scores, strict=True)):
        rng = stream(world.seed, "preferences", row)
        for a in range(0, len(texts) - 1, 2):
            first = world.prefer(seen[a], seen[a + 1], rng)
            won, lost = (a, a + 1) if first else (a + 1, a)
            if texts[won] != texts[lost]:
                yield {"prompt": prompt, "chosen": texts[won], "rejected": texts[lost]}
