"""Characters and words as a reader counts them, in any script."""

import numpy as np
import pytest

from logratio.cues.chars import Characters
from logratio.cues.scripts import NAMES
from logratio.cues.words import Words

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"  # man, woman and girl, joined
THUMB = "\U0001f44d\U0001f3fd"  # with a skin tone
FLAG = "\U0001f1eb\U0001f1f7"
HEART = "\u2764\ufe0f"  # with a variation selector


@pytest.mark.parametrize(
    ("text", "characters", "words"),
    [
        ("", 0, 0),
        ("The cat sat.", 12, 3),
        ("cafe\u0301", 4, 1),
        ("don't stop, it’s ok", 19, 4),
        ("'quoted'", 8, 1),
        ("你好吗？", 4, 3),
        ("مَرْحَبًا بالعالم", 13, 2),
        ("می\u200cخواهم", 7, 1),  # a joiner that keeps letters apart stands inside a word
        ("สวัสดี", 4, 4),  # vowels above and below are marks
        ("你好world", 7, 3),
        ("iPhone 15 Pro", 13, 3),
        (FAMILY, 1, 0),
        (THUMB + THUMB, 2, 0),
        (FLAG, 1, 0),
        (HEART + "ok", 3, 1),
        (" \u200d" + "\U0001f600", 2, 0),  # a joiner after nothing joins nothing that is a word
        ("\ud800a", 1, 1),  # half of a character
        ("\0\0", 0, 0),
    ],
)
def test_characters_and_words_are_those_that_a_reader_counts(text, characters, words):
    chars = Characters(["before", text, "after"])
    assert chars.visible_N[1] == characters
    assert Words(chars).count_N.tolist() == [1, words, 1]


def test_each_text_is_counted_by_itself():
    chars = Characters(["one two", "", "three"])
    assert chars.begin_N.tolist() == [0, 8, 9] and chars.end_N.tolist() == [7, 8, 14]
    words = Words(chars)
    assert words.owner_W.tolist() == [0, 0, 2]
    assert [(int(b), int(e)) for b, e in zip(words.begin_W, words.end_W, strict=True)] == [(0, 3), (4, 7), (9, 14)]


def test_words_are_equal_whatever_their_capitals_and_place():
    words = Words(Characters(["The ΣΟΦΙΑ привет a the", "Привет σοφια A", "ab ba aab"]))
    the, sofia, hello, a, again, hello2, sofia2, a2, *others = words.hash_W.tolist()
    assert (the, sofia, hello, a) == (again, sofia2, hello2, a2)
    assert len({the, sofia, hello, a, *others}) == 7


def test_a_very_long_word_is_a_word():
    words = Words(Characters(["x" * 5_000, "x" * 5_001, "x" * 5_000]))
    assert words.count_N.tolist() == [1, 1, 1]
    assert words.hash_W[0] == words.hash_W[2] != words.hash_W[1]


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("A plain line.", "Latin"),
        ("Füße über Łódź", "Latin"),
        ("Привет, world", "Cyrillic"),
        ("مرحبا", "Arabic"),
        ("中文和 English", "Latin"),
        ("这是中文", "Han"),
        ("これは日本語の文章です", "Kana"),
        ("日本語教育学会大会", "Han"),
        ("한국어", "Hangul"),
        ("नमस्ते", "Devanagari"),
        ("ภาษาไทย", "Thai"),
        ("ⴰⵎⴰⵣⵉⵖ", "other script"),
        ("𠀀𠀁", "Han"),
        ("12:30 🙂", None),
    ],
)
def test_the_main_script_has_most_letters(text, script):
    (main,) = Characters([text]).main_N
    assert (NAMES[main] if main >= 0 else None) == script


def test_the_table_agrees_with_counting_by_hand():
    text = "Ab1 ç9!? (x)\n„y“ 🙂"
    chars = Characters([text])
    assert chars.count(chars.letter_P).tolist() == [sum(c.isalpha() for c in text)]
    assert np.flatnonzero(chars.among("!?")).tolist() == [text.index("!"), text.index("?")]
