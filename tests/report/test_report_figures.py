"""Points, bars and grids: marks differ by more than colour, names cannot run or reorder, numbers stand behind."""

import math

import pytest

from logratio.report import draw, grids, planes
from logratio.report.frame import LONGEST_LABEL, named
from logratio.report.kit import Bars, Dots, Heat, Interval, Plot, Scatter, Series

POINTS = Scatter(
    "Margin against length",
    "longer by, tokens",
    "margin, nats",
    [
        Dots("right", [1.0, 1.0, 2.0], [0.5, 0.7, math.nan], ["row 1", "row 4", "row 9"]),
        Dots("wrong", [3.0], [-0.2], look=1),
    ],
    level=0.0,
)
BARS = Bars("Cues", "cue", "share", ["length", "list"], [("chosen", [0.6, None]), ("rejected", [0.4, -0.1])])
HEAT = Heat("Lost", "layer", "nats", ["0", "1", "2"], [("q", [0.0, 0.5, -1.0]), ("k", [None, 0.25, math.nan])])


def cells(table):
    return [[cell.mean if isinstance(cell, Interval) else cell for cell in row] for row in table.rows]


def test_all_points_stand_in_the_table_also_those_over_each_other():
    assert cells(draw.behind(POINTS)) == [
        ["right, row 1", 1.0, 0.5],
        ["right, row 4", 1.0, 0.7],
        ["wrong, 1", 3.0, -0.2],
    ]


def test_of_many_points_some_are_listed_and_it_is_said():
    many = Scatter("t", "x", "y", [Dots("", range(600), [0.1] * 600)])
    table = draw.behind(many)
    assert len(table.rows) == planes.TABLE_ROWS and "of the points every 10th" in table.caption


def test_bars_and_grids_have_all_numbers_behind_them():
    assert cells(draw.behind(BARS)) == [["length", 0.6, 0.4], ["list", None, -0.1]]
    assert cells(draw.behind(HEAT)) == [["q", 0.0, 0.5, -1.0], ["k", None, 0.25, None]]
    assert draw.behind(HEAT).columns == ["", "0", "1", "2"]


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        (POINTS, "right: 2 points, longer by, tokens from 1 to 1, margin, nats from 0.5 to 0.7; wrong: 1 points"),
        (
            BARS,
            "chosen: greatest 0.6 at length, least 0.6 at length; rejected: greatest 0.4 at length, least −0.1 at list",
        ),
        (HEAT, "q: greatest 0.5 at 1, least −1 at 2; k: greatest 0.25 at 1, least 0.25 at 1"),
    ],
)
def test_each_is_told_in_words(figure, said):
    assert said in draw.spoken(figure)


def test_legends_tell_by_shape_and_not_by_colour_alone():
    marks = [(key.dash, key.marker, key.hatch, key.hollow) for key in draw.legend(POINTS)]
    assert len(set(marks)) == 2
    assert [key.hatch for key in draw.legend(BARS)] == ["none", "right_diagonal_line"]
    assert [(key.label, key.hollow) for key in draw.legend(HEAT)] == [("positive", False), ("negative", True)]
    assert draw.legend(Heat("t", "x", "y", ["a"], [("r", [1.0])])) == []


def glyphs(figure):
    return [renderer.glyph for renderer in figure.renderers]


def test_the_area_of_a_square_is_in_proportion_and_negative_ones_are_hollow():
    figure = grids.heat(HEAT)
    positive, negative = (renderer.data_source.data for renderer in figure.renderers)
    sizes = dict(zip(zip(positive["x"], positive["y"], strict=True), positive["size"], strict=True))
    assert sizes[1.0, 1.0] ** 2 / sizes[1.0, 0.0] ** 2 == pytest.approx(2, rel=0.2)
    assert list(negative["x"]) == [2.0] and list(negative["alpha"]) == [0.0] and min(positive["alpha"]) >= 0.3


def test_long_names_make_bars_lie_and_short_ones_stand():
    lying = Bars("t", "cue", "share", ["begins with a question", "ends in a list of points"], [("", [0.1, 0.2])])
    assert hasattr(glyphs(grids.bars(lying))[0], "right") and hasattr(glyphs(grids.bars(BARS))[0], "top")


def test_bars_beyond_the_screen_are_in_the_table_only():
    many = Bars("t", "word", "n", [f"w{i}" for i in range(90)], [("", [1.0] * 90)])
    [drawn] = grids.bars(many).renderers
    assert len(drawn.data_source.data["to"]) == grids.MOST_BARS and len(draw.behind(many).rows) == 90


def test_paths_are_joined_and_points_have_their_intervals():
    path = Scatter("t", "x", "y", [Dots("a", [0, 2, 1], [1, 2, 3], low=[0, 1, 2], high=[2, 3, 4], joined=True)])
    line, bars, points = glyphs(planes.figure(path))
    assert line.__class__.__name__ == "Line" and bars.__class__.__name__ == "Segment"
    assert points.__class__.__name__ == "Scatter"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines", "two lines"),
        ("\u202eevil", "⟨U+202E⟩evil"),
        ("half \ud83d", "half ⟨U+D83D⟩"),
        ("", "–"),
        ("x" * 80, "x" * (LONGEST_LABEL - 1) + "…"),
    ],
)
def test_names_on_axes_are_visible_and_short(name, shown):
    assert named(name) == shown


@pytest.mark.parametrize("formula", ["$$x^2$$", r"\[x\]", r"\(x\)"])
def test_a_name_is_never_taken_for_a_formula(formula):
    assert not any(opening in named(formula) for opening in ("$$", r"\[", r"\("))


def test_a_band_keeps_its_ends_in_the_table_and_in_the_drawing():
    band = Plot("Margins", "nats", [Series("half", [0, 60], [0.1, 0.4], [0.0, 0.2], [0.2, 0.9], band=True)])
    assert [(cell.low, cell.high) for _, cell in draw.behind(band).rows] == [(0.0, 0.2), (0.2, 0.9)]
    [fig] = draw.curves.figures([band])
    assert [glyph.__class__.__name__ for glyph in glyphs(fig)] == ["VArea", "Line", "Line", "Line", "Line"]
    assert draw.legend(band)[0].band


def test_figures_of_all_kinds_share_one_script():
    curve = Plot("Loss", "", [Series("run", [0, 1], [1.0, 0.5])])
    script, divs = draw.embed([POINTS, curve, BARS, HEAT])
    assert len(divs) == 4 and "embed_items" in script


def test_what_is_compared_on_a_diagonal_has_one_range_on_both_axes():
    plot = Scatter("t", "x", "y", [Dots("", [0.55], [0.9], low=[0.3], high=[1.0])], share=True, diagonal=True)
    fig = planes.figure(plot)
    assert fig.x_range.start == fig.y_range.start < 0.3 and fig.x_range.end == fig.y_range.end > 1.0


def test_a_single_row_of_bars_named_as_its_axis_needs_no_legend():
    assert draw.legend(Bars("t", "x", "rows", ["a"], [("rows", [1.0])])) == []
    assert len(draw.legend(Bars("t", "x", "rows", ["a"], [("used", [1.0])]))) == 1
