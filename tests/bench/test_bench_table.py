"""What is printed of stored results: ratios within rounds, and none where the sides computed different things."""

import json
import math

import pytest

from bench import page, table
from bench.rounds import agreement
from bench.summary import Spread, lines, of_precisions
from bench.vs_trl import main
from logratio.report.curves import reading


def run(side, number, *, reference, training, memory=1e9, losses=(0.6931, 0.6)):
    phases = {"setup": 5.0, "reference": reference, "training": training, "saving": 1.0}
    return {
        "side": side,
        "variant": "live" if side == "trl" else "",
        "round": number,
        "phases": {name: {"wall": value, "cpu": 2 * value} for name, value in phases.items()},
        "later": {"wall": training / 2, "cpu": training},
        "wall": sum(phases.values()),
        "peak_memory": memory,
        "losses": list(losses),
        "path": [f"path of {side}"],
    }


def results(other_losses=(0.6931, 0.6), bf16_peak=4e11):
    runs = [
        run("ours", 0, reference=1, training=3),
        run("trl", 0, reference=2, training=30, memory=4e9, losses=other_losses),
        run("ours", 1, reference=1, training=1),
        run("trl", 1, reference=4, training=20, memory=4e9, losses=other_losses),
        run("ours", 2, reference=1, training=4),
        run("trl", 2, reference=5, training=20, memory=4e9, losses=other_losses),
    ]
    case = {
        "size": "60m",
        "data": "hh",
        "precision": "fp32",
        "shape": {"hidden": 512, "layers": 8, "heads": 8, "kv_heads": 8, "inner": 1376, "vocabulary": 32768}
        | {"tied": False, "body": 25_296_896},
        "settings": {"beta": 0.1, "lr": 1e-5, "clip": 1.0},
        "workload": {"pairs": 16, "steps": 2, "groups": 16, "unique_tokens": 3000, "scored_tokens": 1000}
        | {"prompt_mean": 100.0, "response_mean": 31.0, "form": "pairs", "tokenizer": "words"},
        "work": {
            "reference": {"body": 100e9, "head": 20e9, "attention": 1e9},
            "training": {"body": 250e9, "head": 50e9, "attention": 3e9},
            "later": {"body": 125e9, "head": 25e9, "attention": 2e9},
        },
        "peaks": [{"fp32": 2e11, "bf16": bf16_peak}, {"fp32": 1.9e11, "bf16": bf16_peak}],
        "trials": [
            run("trl", 0, reference=1, training=2, memory=3e9),
            {"variant": "precomputed", "failed": "python peer.py ended with -9:\nlast words"},
        ],
        "best": "live",
        "runs": runs,
        "agreement": agreement(runs, 1e-4),
    }
    return {
        "benchmark": "vs-trl",
        "date": "2026-01-01",
        "machine": {"processor": "P", "cores": 2, "threads": 2, "memory": 2**34, "system": "S"},
        "versions": {"ours": {"logratio": "0.1.0"}, "trl": {"trl": "1.16.0"}},
        "gpu": "not measured",
        "cases": [case],
    }


def named(case):
    return {line.name: line for line in lines(case)}


def test_the_share_after_the_first_step_is_of_the_work_and_time_of_the_other_steps():
    (case,) = results()["cases"]
    # 150 GFLOP in 1.5, 0.5 and 2 s at a peak of 200 GFLOP/s
    assert named(case)["share of the matrix peak, after the first step"].ours == Spread(0.375, 0.5, 1.5)


def test_ratios_are_taken_within_each_round():
    found = named(results()["cases"][0])
    assert found["reference + training, s"].ratio == Spread(5.0, 8.0, 12.0)  # 32/4, 24/2, 25/5
    assert found["training, s"].ratio == Spread(5.0, 10.0, 20.0)  # 20/4, 30/3, 20/1
    assert found["peak memory, GB"].ratio == Spread(4.0, 4.0, 4.0)
    assert found["whole run, s"].ratio == Spread(31 / 11, 30 / 8, 38 / 10)


def test_rates_and_shares_of_the_peak():
    found = named(results()["cases"][0])
    assert found["pairs/s, training"].ours == Spread(4.0, 16 / 3, 16.0)
    assert found["unique tokens/s, training"].ours.median == 1000
    assert found["useful GFLOP/s, training"].ours.median == 100
    assert found["share of the matrix peak, training"].ours.median == 0.5  # 300 GFLOP in 3 s, of 200 GFLOP/s
    assert found["share of the matrix peak, reference"].peer.median == pytest.approx(120 / 4 / 200)
    assert all(found[name].ratio is None for name in found if "/s" in name)


def test_bf16_is_held_against_the_peak_of_bf16():
    case = {**results()["cases"][0], "precision": "bf16"}
    assert named(case)["share of the matrix peak, training"].ours.median == 0.25


def test_no_ratio_where_losses_disagree(tmp_path, capsys):
    wrong = results(other_losses=(0.6931, 0.601))
    assert wrong["cases"][0]["agreement"]["step"] == 2
    said = table.text(wrong)
    assert "LOSSES DISAGREE (1.7e-03 at step 2, tolerance 0.0001), so no ratio is given." in said
    assert all(line.ratio is None for line in lines(wrong["cases"][0]))
    assert "LOSSES DISAGREE" in page.page(wrong).notices[0].text


@pytest.mark.parametrize("losses", [(0.6931,), (0.6931, 0.6, 0.5), (0.6931, math.nan)])
def test_a_step_more_or_less_or_no_number_is_disagreement(losses):
    assert not results(other_losses=losses)["cases"][0]["agreement"]["agree"]


def test_losses_that_stand_still_prove_nothing():
    still = results(other_losses=(0.6931, 0.69313))
    for each in still["cases"][0]["runs"]:
        each["losses"] = [0.6931, 0.69312]
    still["cases"][0]["agreement"] = found = agreement(still["cases"][0]["runs"], 1e-4)
    assert found["worst"] == 0 and not found["agree"]
    assert "agreeing means nothing: no ratio is given" in table.text(still)
    assert named(still["cases"][0])["training, s"].ratio is None


def test_within_tolerance_is_agreement():
    found = results(other_losses=(0.6931, 0.6 * (1 + 0.9e-4)))["cases"][0]["agreement"]
    assert found["agree"] and found["worst"] == pytest.approx(0.9e-4, rel=1e-6)


def test_stored_results_are_reprinted(tmp_path, capsys):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results()))
    assert main(["--show", str(path)]) == 0
    said = capsys.readouterr().out
    assert said == table.text(results()) + "\n"
    for fact in ("P, 2 cores", "trl 1.16.0", "GPU:     not measured", "hidden 512", "8.00 [5.00, 12.00]"):
        assert fact in said
    assert "path of trl" in said and "not quiet" not in said
    assert "live: 3.0 s, 3.00 GB" in said and "precomputed: failed (python peer.py ended with -9:)" in said


def test_a_machine_that_was_busy_is_named():
    busy = results()
    busy["cases"][0]["peaks"][1]["fp32"] = 1e11
    assert "200 GFLOP/s before and 100 after" in table.text(busy)


def test_the_page_shows_the_same_numbers(tmp_path):
    page.write(results(), tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    assert "60m · hh · fp32" in html and "not measured" in html and "path of trl" in html


def test_bf16_beside_fp32_is_compared_with_it(tmp_path):
    both = results()
    half = {**both["cases"][0], "precision": "bf16"}
    half["runs"] = [run("ours", 0, reference=1, training=1.5, losses=(0.6931, 0.61))]
    half["agreement"] = None
    both["cases"].append(half)
    [said] = of_precisions(both["cases"])
    assert "bf16 takes 1/2.00 of the time of fp32" in said and "2.00 times that of fp32" in said
    assert "0.6100 against 0.6000" in said and said in table.text(both)
    assert of_precisions(both["cases"][:1]) == []


def test_a_single_repeat_is_still_seen_in_a_plot():
    """A line through one point has no length."""
    (section, *_) = page.page(results()).sections
    rounds = [block for block in section.blocks if block.kind == "plot" and block.x_label == "repeat"]
    assert rounds and all(series.points for plot in rounds for series in plot.series)
    assert "held-out" not in reading(rounds)


def test_the_page_plots_the_ratio_over_the_size_of_the_model():
    several = results()
    small = {**several["cases"][0], "size": "7m", "shape": {**several["cases"][0]["shape"], "body": 5e6}}
    several["cases"].append(small)
    [plot] = [block for block in page.page(several).top if block.kind == "plot"]
    assert [(series.label, list(series.x), list(series.y)) for series in plot.series] == [
        ("median", [5.0, 25.296896], [8.0, 8.0]),
        ("least", [5.0, 25.296896], [5.0, 5.0]),
        ("most", [5.0, 25.296896], [12.0, 12.0]),
    ]


def test_our_side_alone(tmp_path):
    alone = results()
    case = alone["cases"][0]
    case["runs"] = [run for run in case["runs"] if run["side"] == "ours"]
    case.update(agreement=agreement(case["runs"], 1e-4), best="", trials=[])
    said = table.text(alone)
    assert "Our side alone" in said and "50.0 %" in said
    page.write(alone, tmp_path / "report.html")
