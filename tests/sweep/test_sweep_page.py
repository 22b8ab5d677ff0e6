"""What the table and the page say of runs: the answer and its doubt, positions of values, what does not compare."""

import json
import math
from pathlib import Path

import pytest

from logratio.report.kit import Plot, Table
from logratio.sweep import table
from logratio.sweep.page import compose

NOWHERE = Path("no-such-folder")


def measure(mean, half):
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": 100, "se": half / 2}


def run(accuracy, half=0.02, *, status="finished", seconds=1.0, reference="cached", measures=None, **values):
    """An entry of `sweep.json`; keys of values are written with two underscores for a dot."""
    evaluation = {"accuracy": measure(accuracy, half), "kl": measure(10 * accuracy, 1), "loss": measure(0.6, 0.1)}
    config = {"model": "m", "data": [{"path": "d"}], "objective": {"name": "dpo"}, "eval": {"data": None}}
    config |= {"tokens": {}, "rows": {}, "template": {}}
    named = {key.replace("__", "."): value for key, value in values.items()}
    return {
        "name": "-".join(named.values()),
        "values": named,
        "status": status,
        "error": "it broke." if status == "failed" else None,
        "seconds": seconds,
        "reference": reference,
        "config": config,
        "evaluation": {} if status != "finished" else evaluation if measures is None else measures,
        "before": {},
    }


def page(*runs, folder=NOWHERE):
    return compose(folder, {"given": {}, "runs": list(runs)})


def plots(of):
    return {block.title: block for section in of.sections for block in section.blocks if isinstance(block, Plot)}


def betas(*accuracies, **same):
    return [run(accuracy, objective__beta=f"0.{at}", **same) for at, accuracy in enumerate(accuracies, 1)]


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (betas(0.6, 0.9, 0.7), "at beta\u00a00.2; its interval lies apart from those of all other runs."),
        (
            betas(0.6, 0.9, 0.88),
            "at beta\u00a00.2, but it is not shown to be better than beta\u00a00.3: the intervals touch.",
        ),
        (betas(0.9, 0.89, 0.91, 0.9), "at beta\u00a00.3, but it is not shown to be better than 3 of the 3 others"),
        (betas(0.9), "no other run was measured."),
        (betas(0.9, 0.8, measures={"loss": measure(0.5, 0.1)}), "No run was measured on held-out data"),
        (betas(0.9, 0.8, status="failed"), "No run was measured on held-out data"),
    ],
)
def test_a_run_is_called_best_only_where_its_interval_lies_apart(runs, said):
    assert said in page(*runs).headline


def test_the_lowest_loss_per_token_is_the_best():
    runs = [
        run(0, measures={"nll_per_token": measure(nll, 0.01)}, train__lr=lr) for lr, nll in (("1", 2.0), ("2", 1.5))
    ]
    assert page(*runs).headline.startswith("The lowest held-out loss per token is 1.5, at lr\u00a02;")


def test_values_stand_in_proportion_by_powers_of_ten_or_in_a_row():
    def ticks(*texts):
        (plot,) = [
            plot
            for title, plot in plots(page(*(run(0.7, train__lr=text) for text in texts))).items()
            if "accuracy by" in title
        ]
        assert plot.series[0].x == [place for place, _ in plot.ticks]
        return dict((text, place) for place, text in plot.ticks)

    assert ticks("0.1", "0.2", "0.5") == {"0.1": 0.1, "0.2": 0.2, "0.5": 0.5}
    assert ticks("1e-6", "1e-4") == {"1e-6": pytest.approx(-6), "1e-4": pytest.approx(-4)}
    assert ticks("linear", "cosine", "0") == {"linear": 0, "cosine": 1, "0": 2}
    assert ticks("0", "1", "16") == {"0": 0, "1": 1, "16": 16}


def test_a_plot_by_one_key_has_a_curve_for_each_combination_of_the_others():
    runs = [run(float(beta), objective__beta=beta, train__lr=lr) for beta in ("0.2", "0.5", "0.9") for lr in ("1", "2")]
    drawn = plots(page(*runs))
    assert [curve.label for curve in drawn["Pair accuracy by beta"].series] == ["lr\u00a01", "lr\u00a02"]
    by_lr = drawn["Pair accuracy by lr"].series
    assert [(curve.label, curve.y) for curve in by_lr][2] == ("beta\u00a00.9", [0.9, 0.9])
    assert by_lr[0].low == pytest.approx([0.18, 0.18])
    frontier = drawn["Pair accuracy against KL(π‖π_ref)"].series
    assert [(curve.x, curve.y) for curve in frontier][0] == ([2.0], [0.2]) and len(frontier) == 6


def test_many_curves_are_drawn_in_parts_that_marks_tell_apart():
    runs = [run(0.7, objective__beta=beta, train__seed=str(seed)) for beta in ("0.1", "0.2") for seed in range(10)]
    parts = [block for block in page(*runs).sections[1].blocks if block.title == "Pair accuracy by beta"]
    assert [len(part.series) for part in parts] == [5, 5]


def test_runs_of_different_losses_are_not_compared_by_loss_and_margin():
    with_margin = {"accuracy": measure(0.7, 0.1), "loss": measure(0.5, 0.1), "margin": measure(1, 0.1)}
    for path, compared in (("objective__beta", False), ("train__lr", True)):
        of = page(*(run(0.7, measures=with_margin, **{path: value}) for value in ("0.1", "0.2")))
        assert any(title.startswith(("Loss by", "Margin by")) for title in plots(of)) == compared
        assert (of.sections[0].lead == table.UNITS) != compared


def test_what_did_not_finish_is_said_with_its_sentence_and_the_way_on():
    runs = [
        *betas(0.7),
        run(0, status="failed", objective__beta="0.5"),
        run(0, status="waiting", objective__beta="0.9"),
    ]
    told = [(notice.tone, notice.text) for notice in page(*runs).notices]
    assert ("bad", "The run with beta\u00a00.5 failed: it broke.") in told
    assert ("warn", "Not finished: beta\u00a00.9. `logratio sweep --resume no-such-folder` goes on from there.") in told
    (rows,) = [block.rows for block in page(*runs).sections[0].blocks if isinstance(block, Table)]
    assert [row[1] for row in rows[1:]] == ["failed", "waiting"]


def test_seeds_that_hold_out_other_prompts_are_told_unless_evaluation_data_is_given():
    runs = [run(0.7, train__seed=seed) for seed in "01"]
    assert any("measured on different prompts" in text for text in table.cautions(runs, NOWHERE))
    for one in runs:
        one["config"]["eval"]["data"] = [{"path": "held.jsonl"}]
    assert table.cautions(runs, NOWHERE) == []


@pytest.mark.parametrize("what", ["data", "model", "objective"])
def test_content_that_changed_under_its_name_between_runs_is_told(tmp_path, what):
    runs = betas(0.7, 0.8)
    for at, one in enumerate(runs):
        same = {
            "data": {"fingerprint": "d"},
            "model": {"fingerprint": "m"},
            "objective": {"name": "dpo", "origin": "o"},
        }
        if at:
            same[what] |= {"origin" if what == "objective" else "fingerprint": "other"}
        (tmp_path / one["name"]).mkdir()
        (tmp_path / one["name"] / "manifest.json").write_text(json.dumps(same))
    assert [text.startswith(f"The {what} changed") for text in table.cautions(runs, tmp_path)] == [True]


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_printed_table_fits_and_begins_every_part_with_the_values(width):
    runs = [run(0.7, objective__beta=beta, train__lr="1e-6") for beta in ("0.05", "0.5")]
    lines = table.lines(runs, width)
    assert max(map(len, lines)) <= width
    heads = [line for line in lines if line.startswith("beta")]
    assert all(line.startswith("beta  lr") for line in heads) and len(heads) == lines.count("") + 1
    told = " ".join(" ".join(heads).split())
    assert all(name in told for name in ("accuracy", "KL", "loss", "time", "reference"))
    assert sum("70.0\u202f% [68.0\u202f%, 72.0\u202f%]" in line for line in lines) == 2


@pytest.mark.parametrize(("seconds", "said"), [(0.71, "0.7 s"), (42, "42 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")])
def test_durations(seconds, said):
    assert table.duration(seconds) == said


def test_a_value_without_interval_is_a_point_without_bars():
    runs = [
        run(0, measures={"accuracy": {"mean": 0.5, "low": None, "high": None, "n": 3}}, train__lr=lr) for lr in "12"
    ]
    (curve,) = plots(page(*runs))["Pair accuracy by lr"].series
    assert curve.low == () and math.isclose(curve.y[0], 0.5)
    assert "not shown to be better" in page(*runs).headline


def test_a_measure_of_a_single_run_is_not_drawn_by_value():
    own = run(0, measures={"accuracy": measure(0.7, 0.1), "nll_per_token": measure(2, 0.1)}, objective="sft")
    titles = plots(page(run(0.7, objective="dpo"), own))
    assert "Pair accuracy by objective" in titles and "Loss per token by objective" not in titles
