"""The grammar of reviews: every template is written and read by the same code, so text and meaning cannot part."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import NamedTuple, TypeVar

from numpy.random import Generator

from .lexicon import VERDICT, Aspect, Lexicon, Size, Topic, lexicon

Item = TypeVar("Item")
Words = Mapping[str, Sequence[str]]
"""Slot → the words that may fill it."""


class Claim(NamedTuple):
    """What a clause says: this aspect is good (+1) or bad (−1)."""

    aspect: str
    polarity: int


@dataclass(frozen=True)
class Template:
    """A text with `{slots}`, written by filling them and read by matching.

    Attributes:
        text: The text.
        weight: How often a review uses it, relative to its alternatives.
        sign: −1 where the frame negates its words ("is not dull" praises), else +1.
        words: The one polarity of words that it takes, or 0 for both.
    """

    text: str
    weight: float = 1.0
    sign: int = 1
    words: int = 0

    @cached_property
    def slots(self) -> tuple[str, ...]:
        """Names of the slots in order of occurrence."""
        return tuple(re.findall(r"{(\w+)}", self.text))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        pieces = re.split(r"{(\w+)}", self.text)
        return re.compile("".join(_SLOT.get(p, _WORD) if i % 2 else re.escape(p) for i, p in enumerate(pieces)))

    def write(self, words: Words, rng: Generator) -> str:
        """Fill every slot with one of its words."""
        return self.text.format_map({slot: pick(rng, words[slot]) for slot in self.slots})

    def read(self, text: str) -> tuple[str, ...] | None:
        """Return what stands in the slots, or None if the text has another shape."""
        found = self._pattern.fullmatch(text)
        return found.groups() if found else None

    def accepts(self, values: Sequence[str], words: Words) -> bool:
        """Whether `write` could have filled the slots with these values."""
        return all(value in words[slot] for slot, value in zip(self.slots, values, strict=True))


_WORD = "([a-z]+)"
_SLOT = {
    "title": "([A-Z][a-z]+ [A-Z][a-z]+)",
    "place": "([A-Z][a-z]+)",
    "when": "([a-z ]+)",
    "First": "((?:The|Its|I) [^.]+?)",
    "first": "((?:the|its|I) [^.]+?)",
    "second": "((?:the|its|I) [^.]+?)",
}

CLAUSES = (
    Template("the {aspect} {be} {adjective}", 6),
    Template("the {aspect} {be} {degree} {adjective}", 3),
    Template("the {aspect} {be} {own} and {value}", 2),
    Template("its {value} {aspect} {lift} the film", 2),
    Template("I {felt} the {aspect}", 2),
    Template("I did not {feel} the {aspect}", 1, sign=-1),
    Template("the {aspect} {be} not {adjective}", 2, sign=-1),
    Template("the {aspect} {be} never {adjective}", 1, sign=-1),
    Template("the {aspect} {be} far from {adjective}", 1, sign=-1),
    Template("the {aspect} {be} neither {own} nor {value}", 1, sign=-1),
    Template("the {aspect} {be} neither {own}, {value} nor {effect}", 3, sign=-1),
    Template("the {aspect} {try} to be {own}, {value} and {effect} but {fail}", 4, sign=-1, words=1),
)
ALONE = (Template("{First}."),)
AGREE = (Template("{First}, and {second}."),)
CONTRAST = (Template("{First}, but {second}."), Template("Although {first}, {second}."))
OPENINGS = (
    Template("{title} is a {genre} about a {hero} in {place}.", 2),
    Template("I saw {title} {when}.", 2),
    Template("My {friend} told me about {title}."),
    Template("{title} follows a {hero} and a {other}."),
    Template("In {title}, a {hero} looks for a {other}."),
    Template("We watched the {genre} {title} {when}."),
)
ASIDES = (
    Template("It was filmed in {place}."),
    Template("It runs for {number} hours."),
    Template("It ends with a {hero} and a {other}."),
)
VERDICTS = (
    Template("I would see it again.", 2, words=1),
    Template("It is worth a ticket.", words=1),
    Template("Do not miss it.", words=1),
    Template("I would not see it again.", 2, words=-1),
    Template("It is not worth a ticket.", words=-1),
    Template("Do not waste an evening on it.", words=-1),
)

_FELT = {1: ("loved", "enjoyed", "admired"), -1: ("hated", "disliked", "regretted")}
_FEEL = {1: ("love", "enjoy", "admire"), -1: ("hate", "dislike", "regret")}
_LIFT = {1: ("lifts", "lift"), -1: ("sinks", "sink")}
_COMMON = {
    "degree": ("very", "truly", "quite", "rather"),
    "when": ("last night", "on a train", "with my sister", "at a festival", "on a rainy day"),
    "friend": ("sister", "neighbor", "teacher", "dentist"),
    "number": ("two", "three", "four"),
}


class Grammar:
    """Writes and reads the sentences of one lexicon."""

    def __init__(self, words: Lexicon) -> None:
        self.lexicon = words
        self._scene = {
            **_COMMON,
            "title": tuple(f"{first} {noun}" for first in words.first for t in words.topics for noun in t.nouns),
            "genre": tuple(t.genre for t in words.topics),
            "hero": tuple(hero for t in words.topics for hero in t.heroes),
            "other": tuple(other for t in words.topics for other in t.others),
            "place": tuple(place for t in words.topics for place in t.places),
        }
        self._said = {(a.name, p): self._saying(a, p) for a in words.aspects for p in (1, -1)}

    def _saying(self, aspect: Aspect, polarity: int) -> Words:
        """Words for the slots of a clause about an aspect, its words being of one polarity."""
        own = aspect.good if polarity > 0 else aspect.bad
        value, effect = self.lexicon.value[polarity], self.lexicon.effect[polarity]
        return {
            "aspect": (aspect.name,),
            "adjective": own + value + effect,
            "own": own,
            "value": value,
            "effect": effect,
            "degree": _COMMON["degree"],
            "be": ("are" if aspect.plural else "is",),
            "try": ("try" if aspect.plural else "tries",),
            "fail": ("fail" if aspect.plural else "fails",),
            "lift": (_LIFT[polarity][aspect.plural],),
            "felt": _FELT[polarity],
            "feel": _FEEL[polarity],
        }

    @cached_property
    def praise(self) -> frozenset[str]:
        """Every word that praises where nothing negates it."""
        slots = ("adjective", "felt", "feel", "lift")
        return frozenset(
            word
            for (_, polarity), words in self._said.items()
            if polarity > 0
            for slot in slots
            for word in words[slot]
        )

    @cached_property
    def vocabulary(self) -> tuple[list[str], list[str]]:
        """Words that can begin a review, and all words; each list sorted."""
        templates = (*ALONE, *AGREE, *CONTRAST, *CLAUSES, *OPENINGS, *ASIDES, *VERDICTS)
        written = set(re.findall("[A-Za-z]+", re.sub(r"{\w+}", " ", " ".join(t.text for t in templates))))
        written |= {"The", "Its"}
        fills = " ".join(
            word for slots in (self._scene, *self._said.values()) for words in slots.values() for word in words
        )
        first = {word for word in written if word[0].isupper()} | set(self.lexicon.first)
        return sorted(first), sorted(written | set(fills.split()))

    def write_scene(self, templates: Sequence[Template], topic: Topic, title: str, rng: Generator) -> str:
        """Write a sentence that claims nothing."""
        words = {
            **_COMMON,
            "title": (title,),
            "genre": (topic.genre,),
            "hero": topic.heroes,
            "other": topic.others,
            "place": topic.places,
        }
        return draw(rng, templates).write(words, rng)

    def write_claims(self, claims: Sequence[Claim], rng: Generator) -> str:
        """Write a sentence that makes one claim, or two about different aspects."""
        if claims[0].aspect == VERDICT:
            return draw(rng, [t for t in VERDICTS if t.words == claims[0].polarity]).text
        clauses = [self._clause(claim, rng) for claim in claims]
        product = claims[0].polarity * claims[-1].polarity
        frames = ALONE if len(claims) == 1 else AGREE if product > 0 else CONTRAST
        first, second = clauses[0], clauses[-1]
        return draw(rng, frames).text.format_map(
            {"first": first, "First": first[0].upper() + first[1:], "second": second}
        )

    def _clause(self, claim: Claim, rng: Generator) -> str:
        form = draw(rng, [t for t in CLAUSES if t.words in (0, claim.polarity * t.sign)])
        return form.write(self._said[claim.aspect, claim.polarity * form.sign], rng)

    def read(self, sentence: str) -> tuple[Claim, ...] | None:
        """Return what a sentence claims, in order; None if it is no sentence of this grammar.

        A sentence joined by "and" must agree with itself, one with "but" or "although" must not.
        """
        for template in VERDICTS:
            if sentence == template.text:
                return (Claim(VERDICT, template.words),)
        for template in (*OPENINGS, *ASIDES):
            values = template.read(sentence)
            if values is not None and template.accepts(values, self._scene):
                return ()
        for product, frames in ((1, ALONE), (1, AGREE), (-1, CONTRAST)):
            for frame in frames:
                claims = self._claims(frame.read(sentence) or ())
                if claims and claims[0].polarity * claims[-1].polarity == product:
                    return claims
        return None

    def _claims(self, clauses: Sequence[str]) -> tuple[Claim, ...]:
        """Read every clause; empty if one of them cannot be read."""
        claims = [self._read_clause(text) for text in clauses]
        return tuple(claim for claim in claims if claim) if all(claims) else ()

    def _read_clause(self, text: str) -> Claim | None:
        if not text.startswith("I "):
            text = text[0].lower() + text[1:]
        for form in CLAUSES:
            values = form.read(text)
            if values is None:
                continue
            name = values[form.slots.index("aspect")]
            for polarity in (1, -1) if name in self.lexicon.by_name else ():
                if form.words in (0, polarity) and form.accepts(values, self._said[name, polarity]):
                    return Claim(name, polarity * form.sign)
        return None


@lru_cache
def grammar(size: Size) -> Grammar:
    """Return the grammar of a size of the world."""
    return Grammar(lexicon(size))


def pick(rng: Generator, items: Sequence[Item]) -> Item:
    """Draw one item, all alike."""
    return items[int(rng.random() * len(items))]


def draw(rng: Generator, templates: Sequence[Template]) -> Template:
    """Draw one template by weight."""
    total = list(accumulate(t.weight for t in templates))
    at = rng.random() * total[-1]
    return next(t for t, bound in zip(templates, total, strict=True) if at < bound)
