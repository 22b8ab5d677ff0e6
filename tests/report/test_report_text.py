import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logratio.report.kit import Interval
from logratio.report.text import number, percent, plain, shown, spread, visible


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain, äöü, 漢字, 👩‍🚀, עברית", "plain, äöü, 漢字, 👩‍🚀, עברית"),
        ("two\nlines\tand a tab\r\n", "two\nlines\tand a tab\n"),
        ("pay \u202eevil\u202c", "pay ⟨U+202E⟩evil⟨U+202C⟩"),
        ("\u2066isolate\u2069", "⟨U+2066⟩isolate⟨U+2069⟩"),
        ("\ud83d half an emoji", "⟨U+D83D⟩ half an emoji"),
        ("zero\u200bwidth\ufeff\x00\x1b[31m", "zero⟨U+200B⟩width⟨U+FEFF⟩⟨U+0000⟩⟨U+001B⟩[31m"),
        ("tag \U000e0041", "tag ⟨U+E0041⟩"),
        ("filler \u3164\uffa0, selector \U000e0100\U000e01ef", "filler ⟨U+3164⟩⟨U+FFA0⟩, selector ⟨U+E0100⟩⟨U+E01EF⟩"),
    ],
)
def test_what_could_hide_or_reorder_text_is_spelled_out(text, seen):
    assert visible(text) == seen


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_visible_text_always_encodes_and_is_a_fixed_point(text):
    assert visible(visible(text)).encode() == visible(text).encode()


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (0, "0"),
        (-0.0, "0"),
        (1e-6, "1e−6"),
        (-0.0123456, "−0.01235"),
        (0.6931471, "0.6931"),
        (7.01, "7.01"),
        (12_345.6, "12,346"),
        (600, "600"),
        (2.5e9, "2.5e9"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_numbers_have_four_digits_at_most(value, seen):
    assert number(value) == seen


@pytest.mark.parametrize(
    ("ends", "seen"),
    [
        ((0.35634, 0.33634, 0.37634), ("0.356", "0.336", "0.376")),
        ((46.0, 43.8, 48.2), ("46.0", "43.8", "48.2")),
        ((-0.2546, -0.2626, -0.2466), ("−0.2546", "−0.2626", "−0.2466")),
        ((0.0, -0.08, 0.08), ("0.000", "−0.080", "0.080")),
        ((1500.0, 1380.0, 1620.0), ("1,500", "1,380", "1,620")),
        ((5.0, 5.0, 5.0), ("5", "5", "5")),
        ((-6.1e-8, -2.2e-7, 9.6e-8), ("−6.1e−8", "−2.2e−7", "9.6e−8")),
    ],
)
def test_an_interval_shows_two_digits_of_its_half_width(ends, seen):
    assert spread(*ends) == seen


def test_cells():
    assert shown(None) == "–"
    assert shown("word") == "word"
    assert shown(Interval(0.647, 0.605, 0.69, 480, share=True)) == "64.7\u202f% [60.5\u202f%, 69.0\u202f%]"
    assert shown(Interval(7.01)) == "7.01"
    assert percent(1) == "100.0\u202f%"


def test_chat_turns_and_other_values_become_text():
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None}]
    assert plain(turns) == "user: Hi\nassistant: "
    assert plain({"a": "ü"}) == '{"a": "ü"}'
