"""Single characters: punctuation, questions, digits, capitals, emoji, quotation marks, and how the text ends."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .chars import CAPITAL, DIGIT, EMOJI, FLAG, JOINER, MARK, PUNCTUATION, SPACE, TINT, Characters, Numbers

QUESTIONS = "?？؟⁇\u037e\u055e"
EXCLAMATIONS = "!！‼\u055c"
QUOTES = '"“”„«»「」『』'
ENDS = ".。．｡…!！?？؟۔।॥։።:：;；"
CLOSERS = "\"'”’»」』)）]】}*_`~"


def mark_cues(chars: Characters) -> Mapping[str, Numbers]:
    """Return counts as log(1 + n), shares of characters or letters in [0, 1], and 0 or 1 for how it ends, each [N]."""
    every = np.maximum(chars.visible_N, 1)
    letters = np.maximum(chars.count(chars.letter_P), 1)
    return {
        "punctuation (share)": chars.count(chars.kind_P == PUNCTUATION) / every,
        "questions (log)": np.log1p(chars.count(chars.among(QUESTIONS))),
        "exclamations (log)": np.log1p(chars.count(chars.among(EXCLAMATIONS))),
        "quotation marks (log)": np.log1p(chars.count(chars.among(QUOTES))),
        "digits (share)": chars.count(chars.kind_P == DIGIT) / every,
        "capitals (share)": chars.count(chars.kind_P == CAPITAL) / letters,
        "emoji (log)": np.log1p(chars.count(chars.kind_P == EMOJI) + chars.count(chars.kind_P == FLAG) / 2),
        "ends without a stop": _ends(chars, ENDS, skip=CLOSERS, wanted=False),
        "ends with a question": _ends(chars, QUESTIONS, skip=CLOSERS, wanted=True),
        "empty": (chars.count(~chars.of(0, SPACE)) == 0).astype(np.float64),
    }


def _ends(chars: Characters, marks: str, *, skip: str, wanted: bool) -> Numbers:
    """Return 1 where a text's last character, closing marks and emoji passed over, is (or is not) one of `marks`.

    A text of nothing else has no end: 0.
    """
    passed = chars.of(0, SPACE, MARK, JOINER, TINT, EMOJI, FLAG) | chars.among(skip)
    place = np.maximum.accumulate(np.where(passed, -1, np.arange(len(passed))))
    last_N = place[chars.end_N]
    exists = last_N >= chars.begin_N
    at_mark = chars.among(marks)[np.maximum(last_N, 0)]
    ends: Numbers = (exists & (at_mark == wanted)).astype(np.float64)
    return ends
