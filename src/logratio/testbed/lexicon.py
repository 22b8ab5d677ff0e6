"""The words of the world: films, what is said about them, and how well."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Size = Literal["nano", "small"]
Polarity = Literal[1, -1]
VERDICT = "film"
"""The aspect that a closing verdict is about; it has sentences of its own and no adjectives."""


@dataclass(frozen=True, slots=True)
class Aspect:
    """Something that a review can praise or blame.

    Attributes:
        name: The noun, without article.
        plural: Whether it takes `are`.
        good: Adjectives that praise it and no other aspect.
        bad: Adjectives that blame it and no other aspect.
    """

    name: str
    plural: bool
    good: tuple[str, ...]
    bad: tuple[str, ...]


def _aspect(name: str, good: str, bad: str, *, plural: bool = False) -> Aspect:
    return Aspect(name, plural, tuple(good.split()), tuple(bad.split()))


_ASPECTS = (
    _aspect("acting", "subtle assured tender", "wooden stiff careless"),
    _aspect("plot", "gripping clever coherent", "muddled predictable thin"),
    _aspect("music", "haunting graceful rousing", "shrill bland intrusive"),
    _aspect("pacing", "brisk confident measured", "sluggish jerky slack"),
    _aspect("jokes", "witty fresh playful", "stale crude forced", plural=True),
    _aspect("images", "luminous striking elegant", "murky drab garish", plural=True),
    _aspect("dialogue", "sharp natural lively", "clumsy stilted preachy"),
    _aspect("ending", "satisfying earned surprising", "abrupt hollow sentimental"),
    _aspect("effects", "seamless inventive vivid", "cheap dated noisy", plural=True),
)
_VALUE = {1: "superb excellent brilliant", -1: "awful dreadful poor"}
_EFFECT = {1: "memorable delightful refreshing", -1: "dull tedious tiresome"}

_TOPICS = {  # genre: (last words of titles, heroes, those they meet, places)
    "thriller": ("Witness Ransom Alibi Verdict", "detective judge", "forger burglar", "Chicago Berlin"),
    "comedy": ("Wedding Picnic Lodger Holiday", "baker waiter", "landlady barber", "Naples Brighton"),
    "western": ("Canyon Saddle Outlaw Prairie", "sheriff drifter", "rancher gambler", "Nevada Texas"),
    "romance": ("Letter Garden Waltz Embrace", "pianist widow", "florist painter", "Paris Vienna"),
    "drama": ("Harbor Winter Inheritance Orchard", "miner sailor", "preacher nurse", "Wales Poland"),
    "fable": ("Dragon Lantern Forest Crown", "wizard shepherd", "giant princess", "Iceland Persia"),
}
_FIRST = (
    "Northern Silent Broken Golden Last Hidden Crimson Little Distant Second Midnight Paper "
    "Wild Hollow Blue Stolen Endless Quiet Burning Forgotten"
).split()


@dataclass(frozen=True)
class Topic:
    """A genre with the titles, people and places that its films tend to have."""

    genre: str
    nouns: tuple[str, ...]
    heroes: tuple[str, ...]
    others: tuple[str, ...]
    places: tuple[str, ...]


@dataclass(frozen=True)
class Lexicon:
    """All words of one size of the world.

    Attributes:
        aspects: What can be praised or blamed, the verdict apart.
        value: Polarity → adjectives for any aspect that say what it is worth.
        effect: Polarity → adjectives for any aspect that say what it does to the viewer.
        topics: Kinds of film.
        first: First words of titles; a title is one of them and a topic's noun.
    """

    aspects: tuple[Aspect, ...]
    value: dict[int, tuple[str, ...]]
    effect: dict[int, tuple[str, ...]]
    topics: tuple[Topic, ...]
    first: tuple[str, ...]

    @cached_property
    def by_name(self) -> dict[str, Aspect]:
        """Aspects by their noun."""
        return {aspect.name: aspect for aspect in self.aspects}


def lexicon(size: Size) -> Lexicon:
    """Return the words of a size; those of `nano` are among those of `small`."""
    aspects, own, general, topics, first = {"nano": (6, 1, 2, 4, 12), "small": (9, 3, 3, 6, 20)}[size]
    return Lexicon(
        aspects=tuple(Aspect(a.name, a.plural, a.good[:own], a.bad[:own]) for a in _ASPECTS[:aspects]),
        value={polarity: tuple(words.split()[:general]) for polarity, words in _VALUE.items()},
        effect={polarity: tuple(words.split()[:general]) for polarity, words in _EFFECT.items()},
        topics=tuple(
            Topic(genre, *(tuple(words.split()) for words in lists)) for genre, lists in list(_TOPICS.items())[:topics]
        ),
        first=tuple(_FIRST[:first]),
    )
