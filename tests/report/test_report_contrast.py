"""WCAG 2.2 AA in both themes, from the style sheet: text 4.5 to 1, marks and borders of controls 3 to 1."""

import re
from importlib.resources import files

import pytest

STYLE = (files("logratio") / "report" / "page.css").read_text(encoding="utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", part)) for part in re.findall(r":root \{(.*?)\}", STYLE, re.S)
)

TEXT = [
    *((ink, back) for ink in ("ink", "muted", "link") for back in ("page", "surface", "sunken")),
    *((tone, f"{tone}-back") for tone in ("bad", "warn")),
    *((tone, "surface") for tone in ("good", "bad", "warn")),
    *(("surface", tone) for tone in ("good", "bad", "warn", "muted")),  # the signs
]
MARKS = [(f"series-{i}", back) for i in range(1, 5) for back in ("surface", "page")]


def luminance(colour: str) -> float:
    """WCAG's relative luminance of #rrggbb."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_formula_is_wcags():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # the standard's well-known near miss


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_marks_can_be_told_from_what_lies_behind(theme):
    assert set(LIGHT) == set(DARK)
    assert [] == [(a, b, contrast(theme[a], theme[b])) for a, b in TEXT if contrast(theme[a], theme[b]) < 4.5]
    assert [] == [(a, b, contrast(theme[a], theme[b])) for a, b in MARKS if contrast(theme[a], theme[b]) < 3]
