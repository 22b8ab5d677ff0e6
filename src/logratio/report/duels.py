"""Judged pairs of answers as rows to open: what was lost, what was won, and what orders disagreed about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .found import cut
from .kit import Findings, Found, Quoted, Tone
from .text import number, plain

SHOWN, LEAST = 40, 5
"""Pairs of one kind that are shown of two models, and at least of many; further ones are counted."""

CHARACTERS = 4_000
"""Characters of one text that are shown; further ones are counted."""

_BRIEF = 100

Duel = Mapping[str, Any]

_KINDS: tuple[tuple[str, Tone, str, Callable[[Duel], bool]], ...] = (
    ("Lost", "bad", "lost", lambda duel: duel["value"] is not None and duel["value"] < 0.5),
    ("Won", "good", "won", lambda duel: duel["value"] is not None and duel["value"] > 0.5),
    ("Order decided", "warn", "flips", lambda duel: bool(duel.get("flipped"))),
    ("Both bad", "warn", "bad", lambda duel: bool(duel["both_bad"])),
    (
        "Tied",
        "plain",
        "ties",
        lambda duel: duel["value"] == 0.5 and not duel["same"] and not duel.get("flipped") and not duel["both_bad"],
    ),
    ("No verdict", "warn", "failed", lambda duel: bool(duel["failed"])),
)


def samples(duels: Sequence[Duel], a: str, b: str, anchor: str, most: int = SHOWN) -> Findings:
    """Return two models' judged pairs by what came of them, those that a lost first.

    Args:
        duels: Rows of duels.jsonl.
        a: The first model.
        b: The other.
        anchor: Beginning of the names that links lead to.
        most: Pairs of one kind that are shown.
    """
    own = [duel for duel in duels if duel["a"] == a and duel["b"] == b]
    found = []
    for name, tone, key, belongs in _KINDS:
        rows = [duel for duel in own if belongs(duel)]
        if rows:
            found.append(
                Found(
                    name=name,
                    tone=tone,
                    word=f"{len(rows):,}",
                    says=_says(key, len(rows), len(own), most),
                    examples=[_quoted(duel) for duel in rows[:most]],
                    anchor=f"{anchor}-{key}",
                )
            )
    return Findings(found)


def _says(key: str, count: int, all_: int, most: int) -> str:
    told = {
        "lost": "where the first model's answer is worse",
        "won": "where it is better",
        "flips": "where the winner changes with the order in which answers are shown",
        "bad": "where neither answer is acceptable",
        "ties": "where neither is better",
        "failed": "that the judge gave no verdict on; they count nowhere",
    }[key]
    more = f" Shown are the first {most}; `duels.jsonl` has all." if count > most else ""
    return f"{count:,} of {all_:,} pairs {told}.{more}"


def _quoted(duel: Duel) -> Quoted:
    prompt = plain(duel["prompt"])
    brief = " ".join(prompt.split())
    brief = brief if len(brief) <= _BRIEF else f"{brief[: _BRIEF - 1]}…"
    texts = [("Prompt", prompt), (duel["a"], duel["answer_a"]), (duel["b"], duel["answer_b"])]
    rest = " in duels.jsonl"
    return Quoted(duel["origin"], _why(duel, brief), [(name, cut(text, CHARACTERS, rest)) for name, text in texts])


def _why(duel: Duel, brief: str) -> str:
    told = []
    if duel["failed"]:
        told.append(duel["failed"])
    elif duel["value"] is not None and duel["value"] not in (0, 0.5, 1):
        told.append(f"preference {number(duel['value'])}")
    told.append(f"{len(duel['answer_a']):,} and {len(duel['answer_b']):,} characters")
    return f"{brief.replace('`', 'ʼ')} ({', '.join(told).replace('`', 'ʼ')})"
