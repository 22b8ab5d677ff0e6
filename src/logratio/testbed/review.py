"""Reviews: what one says is planned first, then written, so that its meaning is known without reading it."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.random import Generator

from .grammar import ASIDES, OPENINGS, Claim, Grammar, pick
from .lexicon import VERDICT

_MOODS = (0.2, 0.5, 0.8)  # chance that a claim is praise: a pan, a mixed review, a rave
_OPENING, _ASIDE, _JOINED, _VERDICT = 0.85, 0.12, 0.3, 0.4


@dataclass(frozen=True, slots=True)
class Review:
    """A text and the claims that it was written to make, each aspect once."""

    text: str
    claims: tuple[Claim, ...]


def write_review(grammar: Grammar, most: int, rng: Generator) -> Review:
    """Write a review of one film.

    Args:
        grammar: Size of the world.
        most: Largest number of claims, the verdict apart; at least one is made.
        rng: Source of every choice.
    """
    claims = _plan(grammar, most, rng)
    topic = pick(rng, grammar.lexicon.topics)
    title = f"{pick(rng, grammar.lexicon.first)} {pick(rng, topic.nouns)}"
    sentences = [grammar.write_scene(OPENINGS, topic, title, rng)] if rng.random() < _OPENING else []
    left = list(claims)
    while left:
        joined = len(left) > 1 and left[1].aspect != VERDICT and rng.random() < _JOINED
        said, left = left[: 1 + joined], left[1 + joined :]
        sentences.append(grammar.write_claims(said, rng))
        if left and rng.random() < _ASIDE:
            sentences.append(grammar.write_scene(ASIDES, topic, title, rng))
    return Review(" ".join(sentences), claims)


def _plan(grammar: Grammar, most: int, rng: Generator) -> tuple[Claim, ...]:
    """Choose a mood, aspects in random order, how each fares, and perhaps a verdict that agrees with most of them."""
    praise = pick(rng, _MOODS)
    aspects = [grammar.lexicon.aspects[i].name for i in rng.permutation(len(grammar.lexicon.aspects))]
    claims = [Claim(name, 1 if rng.random() < praise else -1) for name in aspects[: 1 + int(rng.random() * most)]]
    balance = sum(claim.polarity for claim in claims)
    if balance and rng.random() < _VERDICT:
        claims.append(Claim(VERDICT, 1 if balance > 0 else -1))
    return tuple(claims)
