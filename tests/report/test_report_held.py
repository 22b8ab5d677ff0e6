"""Single pairs: how margins spread, whether length explains them, calibration, and the browser."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from report_beside import CALIBRATION, PAIRS, TEXTS, margin, margin_rows, pair_rows, write_beside
from report_runs import STEPS, sample_rows, write_lines

from logratio.report import browser, held
from logratio.report.beside import Held, read_beside
from logratio.report.read import read_run


@pytest.fixture
def beside(run_dir):
    return read_beside(write_beside(run_dir(train=[], evals=[])))


def test_margins_and_pairs_are_read_back(beside):
    assert beside.problems == () and len(beside.held.pairs) == PAIRS
    assert beside.held.steps == list(range(0, STEPS + 1, 120))
    assert beside.held.margins[-1] == pytest.approx([margin(pair, STEPS) for pair in range(PAIRS)])


def test_the_distribution_is_that_of_the_margins(beside, run_dir):
    plot = held.distribution(read_run(run_dir(train=[], evals=[])), beside.held)
    half, most = plot.series
    last = [margin(pair, STEPS) for pair in range(PAIRS)]
    assert (half.y[-1], half.low[-1], half.high[-1]) == pytest.approx(tuple(np.quantile(last, [0.5, 0.25, 0.75])))
    assert (most.low[-1], most.high[-1]) == pytest.approx(tuple(np.quantile(last, [0.05, 0.95])))
    assert most.low[-1] < half.low[-1] < half.y[-1] < half.high[-1] < most.high[-1]


def test_quantiles_that_evaluations_hold_come_first(run_dir):
    values = {"p05": -1.0, "p25": 0.0, "p50": 1.0, "p75": 2.0, "p95": 3.0}
    evals = [{"kind": "eval", "step": step, "margin_quantiles": values} for step in (0, 60)]
    plot = held.distribution(read_run(run_dir(train=[], evals=evals)), Held())
    assert plot.series[1].low == [-1.0, -1.0] and plot.series[0].y == [1.0, 1.0]
    evals[1]["margin_quantiles"] = dict.fromkeys(values)
    plot = held.distribution(read_run(run_dir("other", train=[], evals=evals)), Held())
    assert plot.series[0].x == [0]


def test_a_margin_that_is_length_and_one_that_is_not_are_told_apart(beside):
    longer = [pair.length_chosen - pair.length_rejected for pair in beside.held.pairs]
    exact = replace(beside.held, margins=[[0.5 * value for value in longer]])
    assert "r = 1 over 120 pairs" in held.against_length(exact).note
    flat = replace(beside.held, margins=[[0.0] * PAIRS])
    assert "not defined" in held.against_length(flat).note
    assert held.against_length(replace(beside.held, pairs=())) is None


def test_every_pair_is_on_one_side_of_the_line(beside):
    right, wrong = held.against_length(beside.held).dots
    assert min(right.y) > 0 >= max(wrong.y) and len(right.y) + len(wrong.y) == PAIRS


def test_calibration_draws_the_bins_or_says_why_there_are_none(run_dir):
    run = read_run(run_dir(evaluation={"calibration": CALIBRATION, "ece": {"mean": 0.04}}, train=[], evals=[]))
    plot = held.calibration(run)
    assert list(plot.dots[0].x) == [own["predicted"] for own in CALIBRATION["bins"]]
    assert plot.diagonal and "(ECE) 0.04" in plot.note
    why = {"about": {"calibration": {"why_not": "ipo's margin is no log-odds."}}}
    assert held.calibration(replace(run, evaluation=why)) == "ipo's margin is no log-odds."
    for nothing in ({}, {"calibration": {"bins": [{"predicted": None, "observed": 1.0}]}}, {"calibration": []}):
        assert held.calibration(replace(run, evaluation=nothing)) is None


def test_the_path_in_the_plane_follows_training(run_dir):
    run = read_run(run_dir(train=[]))
    margins, accuracies = held.distances(run)
    assert margins.dots[0].names[0] == "step 0" and margins.dots[0].names[-1] == "step 600"
    assert margins.dots[0].joined and margins.dots[0].x == sorted(margins.dots[0].x)
    assert accuracies.share and accuracies.level == 0.5
    judged = [{**row, "reward": row["margin"]} for row in run.evals]
    assert held.gains(judged) == ["reward", "accuracy"]
    assert held.distances(replace(run, evals=run.evals[:1])) == []


def test_evaluations_of_other_pairs_and_texts_that_do_not_fit_are_told(run_dir):
    run = write_beside(run_dir(train=[], evals=[]))
    write_lines(run / "margins.jsonl", [{"step": 0, "margin": [0.0]}, *margin_rows()[1:]])
    write_lines(run / "pairs.jsonl", pair_rows()[:5])
    found = read_beside(run)
    assert "margins.jsonl: 1 evaluations of other pairs are left out." in found.problems
    assert "pairs.jsonl holds 5 pairs and margins.jsonl 120, so no text is shown." in found.problems
    assert found.held.pairs == () and found.held.steps[0] == 120


def test_a_margin_that_is_not_known_is_a_gap(run_dir):
    run = run_dir(train=[], evals=[])
    write_lines(run / "margins.jsonl", [{"step": 0, "margin": [0.0, None]}, {"step": 9, "margin": [1.0, 2.0]}])
    found = read_beside(run).held
    assert math.isnan(found.margins[0][1])
    assert browser.telling(replace(found, pairs=()), [0, 1]) == [0]


def test_the_browser_joins_samples_with_the_pair_of_the_same_prompt(run_dir):
    rows = sample_rows(prompts=2)
    pairs = [{**row, "prompt": rows[i]["prompt"] if i < 2 else row["prompt"]} for i, row in enumerate(pair_rows())]
    run = write_beside(run_dir(samples=rows, train=[], evals=[]), pairs=pairs)
    shown = browser.browser(read_run(run).samples, read_beside(run).held).prompts
    assert len(shown[0].samples) == 4 and shown[0].chosen == TEXTS[0][1]
    assert shown[0].margins == pytest.approx((margin(0, 0), margin(0, STEPS)))
    assert "Row 0. Chosen 40 tokens, rejected 38." in shown[0].about
    prompts = [prompted.prompt for prompted in shown]
    assert len(prompts) == len(set(prompts)) and len(prompts) <= 2 + browser.PAIRS


def test_of_many_pairs_those_that_moved_most_are_shown(beside):
    shown = browser.telling(beside.held, range(PAIRS))
    changes = sorted(range(PAIRS), key=lambda at: beside.held.margins[-1][at] - beside.held.margins[0][at])
    assert {changes[0], changes[-1], changes[10], changes[-10]} <= set(shown)
    assert len(shown) <= browser.PAIRS and shown == sorted(shown)
    assert browser.telling(beside.held, range(10)) == list(range(10))


def test_texts_of_pairs_are_cut_and_counted(run_dir):
    long = [{**pair_rows()[0], "chosen": "x" * (browser.PAIR_CHARACTERS + 17)}]
    run = write_beside(run_dir(samples=[], train=[], evals=[]), pairs=long)
    [shown] = browser.browser([], read_beside(run).held).prompts
    assert shown.chosen.endswith("[17 more characters in pairs.jsonl]")


def test_documents_that_are_not_what_they_should_be_are_told(run_dir):
    run = run_dir(train=[], evals=[])
    (run / "audit.json").write_text("7")
    (run / "preflight.json").write_text("{")
    found = read_beside(run)
    assert found.audit is None and found.preflight == ()
    assert len(found.problems) == 2
    (run / "audit.json").write_text(json.dumps([]))
    assert read_beside(run).audited == ()
