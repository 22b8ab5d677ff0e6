"""Plots over different axes on one page: each axis has its own range, positions may have names, looks differ."""

import math

from bokeh.models import FixedTicker

from logratio.report.curves import behind, figures
from logratio.report.frame import look
from logratio.report.kit import Plot, Series


def points(*ys, look=0):
    return Series(
        f"lr {look}", [math.log10(0.05), math.log10(0.5)], ys, [y - 1 for y in ys], [y + 1 for y in ys], True, look=look
    )


NAMED = {"x_label": "beta", "ticks": [(math.log10(0.05), "0.05"), (math.log10(0.5), "0.5")]}
BY_BETA = Plot("Accuracy", "", [points(1, 2), points(3, 4, look=1)], **NAMED)
ALSO_BY_BETA = Plot("KL", "", [points(5, 6)], **NAMED)
BY_STEP = Plot("Loss", "", [Series("run", [0, 400], [1.0, 0.5])])


def test_plots_share_a_range_with_those_over_the_same_axis_only():
    first, steps, second = figures([BY_BETA, BY_STEP, ALSO_BY_BETA])
    assert first.x_range is second.x_range and first.x_range is not steps.x_range
    assert steps.x_range.start < 0 and steps.x_range.end > 400
    assert -1.5 < first.x_range.start < math.log10(0.05) and math.log10(0.5) < first.x_range.end < 0


def test_positions_with_names_are_called_by_them_on_the_axis_and_in_the_numbers_behind():
    (figure,) = figures([BY_BETA])
    assert isinstance(figure.xaxis[0].ticker, FixedTicker)
    assert list(figure.xaxis[0].major_label_overrides.values()) == ["0.05", "0.5"]
    assert [row[0] for row in behind(BY_BETA).rows] == ["0.05", "0.5"]
    assert [row[0] for row in behind(BY_STEP).rows] == ["0", "400"]


def drawn(figure, marker):
    return [r.data_source.data["x"] for r in figure.renderers if getattr(r.glyph, "marker", None) == marker]


def test_curves_at_one_named_position_stand_beside_each_other_and_a_single_one_on_it():
    several, single = figures([BY_BETA, ALSO_BY_BETA])
    ((left, _),), ((right, _),) = drawn(several, "circle"), drawn(several, "triangle")
    assert left < math.log10(0.05) < right and right - left < 0.1
    ((alone, _),) = drawn(single, "circle")
    assert alone == math.log10(0.05)


def test_sixteen_looks_differ_in_colour_dash_or_marker():
    assert len({look(index)[:2] for index in range(16)}) == len({look(index)[::2] for index in range(16)}) == 16
    assert len({look(index)[1] for index in range(4)}) == 4
