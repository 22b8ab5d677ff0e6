"""Made-up preference data: random sentences, a rule that says which is better, and faults planted on purpose."""

from collections.abc import Callable

import numpy as np

from logratio.audit.rows import Rows, read_rows

SYLLABLES = ("ra", "len", "mo", "tis", "van", "sup")
WORDS = [f"{first}{second}" for first in "badofiguke" for second in SYLLABLES]

Rule = Callable[[str, str, np.random.Generator], bool | None]
"""(one, other) → whether the one is better; None: neither, draw two others."""


def sentence(rng: np.random.Generator, least: int = 5, most: int = 40) -> str:
    """Return random words."""
    return " ".join(rng.choice(WORDS, int(rng.integers(least, most)))) + "."


def coin(one: str, other: str, rng: np.random.Generator) -> bool:
    """Neither is better."""
    return bool(rng.random() < 0.5)


def longer(share: float) -> Rule:
    """Return a rule by which the longer one wins with this probability."""
    return lambda one, other, rng: bool((rng.random() < share) == (len(one) > len(other)))


def more_of(letters: str) -> Rule:
    """Return a rule without chance: more words that begin with these letters."""

    def better(one: str, other: str, rng: np.random.Generator) -> bool | None:
        scores = [sum(word[0] in letters for word in text.split()) for text in (one, other)]
        return None if scores[0] == scores[1] else scores[0] > scores[1]

    return better


def pairs(seed: int, count: int, rule: Rule, *, flips: float = 0.0, per_prompt: int = 1) -> list[dict[str, str]]:
    """Return rows judged by a rule, a share of the verdicts flipped."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        better = None
        while better is None:
            one, other = sentence(rng), sentence(rng)
            better = rule(one, other, rng) if one != other else None
        won = better != (rng.random() < flips)
        chosen, rejected = (one, other) if won else (other, one)
        rows.append({"prompt": f"Question {number // per_prompt}?", "chosen": chosen, "rejected": rejected})
    return rows


def columns(rows: list[dict[str, str]]) -> Rows:
    """Return rows as the audit reads them."""
    return read_rows(rows)


def votes(
    seed: int, people: int, items: int, each: int, wrong: Callable[[int], float], ties: float = 0.0
) -> list[dict[str, object]]:
    """Return rows in which several people judge the same pairs, each contradicting the truth at a rate of his own."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for item in range(items):
        texts = sentence(rng), sentence(rng)
        for person in rng.choice(people, each, replace=False):
            strength = 0 if rng.random() < ties else (1 if rng.random() < wrong(int(person)) else -1)
            rows.append(
                {
                    "prompt": f"Question {item // 5}?",
                    "response1": texts[0],
                    "response2": texts[1],
                    "preference_strength": strength,
                    "annotator": f"p{person:03d}",
                }
            )
    return rows
