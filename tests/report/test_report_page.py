"""The page says what the files say, escapes all of it, and says what is missing."""

import base64
import hashlib
import json
import math
import re
import subprocess
import sys

import pytest
from report_beside import write_beside
from report_pages import HOSTILE, Page
from report_runs import STEPS, eval_row, train_row, write_run

from logratio.errors import RunError
from logratio.report.browser import CHARACTERS, PROMPTS
from logratio.report.page import write_report


def report(run):
    return write_report(run).read_text(encoding="utf-8")


UNDRAWN: dict = {"train": [], "evals": []}
"""Drawing takes most of the time that a page takes: runs without curves where curves are not the point."""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a whole, healthy DPO run."""
    return Page(report(write_run(tmp_path_factory.mktemp("whole") / "dpo")))


def test_a_best_checkpoint_is_compared_with_step_0_on_the_prompts_it_is_reported_on(tmp_path):
    first, last = eval_row(0), eval_row(STEPS)
    first["accuracy"] = {"mean": 0.41, "low": 0.38, "high": 0.44, "n": last["accuracy"]["n"]}
    judged = {name: value for name, value in last.items() if name not in ("kind", "step")}
    run = write_run(tmp_path / "best", evaluation={**judged, "before": first}, train=[])
    assert "rose from 41.0\u202f%" in report(run)


def test_the_summary_answers_what_was_run_and_whether_accuracy_rose(page):
    for said in (
        "Held-out accuracy rose from 50.0\u202f% to 64.7\u202f%.",
        "Judging by length alone scores 54.1\u202f%",
        "7.01 nats a response",
        "acme/reviews-small",
        "reviews.jsonl",
        "dpo (beta = 0.1)",
        "ℓ = −log σ(β·[log π(y⁺|x)/π_ref(y⁺|x) − log π(y⁻|x)/π_ref(y⁻|x)]), mean over pairs",
        "the model as loaded, before its first step",
        "It does not say that people prefer what the policy writes",
    ):
        assert " ".join(said.split()) in page.text, said


def test_every_plot_has_its_numbers_in_a_table_and_its_words(page):
    plots = page.tags.count("figure")
    assert plots == 14
    assert page.text.count("Numbers behind this plot") == plots
    spoken = [value for tag, name, value in page.attributes if name == "aria-label" and " by step. " in value]
    assert len(spoken) == 12
    planes = [value for _, name, value in page.attributes if name == "aria-label" and "against KL(π‖π_ref). " in value]
    assert len(planes) == 2 and "11 points, KL, nats/response from 0 to 7.01" in planes[0]
    assert any(words.startswith("KL(π‖π_ref) by step. held out: from 0 to 7.01") for words in spoken)
    last = [text for text in page.texts if text.strip() == "0.356 [0.336, 0.376]"]
    assert last  # the last evaluation's loss, in the table of its plot and in the evaluation


def test_thinning_and_smoothing_are_stated(page):
    assert "least and greatest value in each of 240 intervals" in page.text
    assert "mean over the last 1/25 of the logged steps" in page.text
    assert "of the logged steps every 15th (metrics.jsonl has all)" in page.text


def test_nothing_is_fetched_and_scripts_run_by_their_hash_only(page):
    policy = next(value for tag, name, value in page.attributes if tag == "meta" and "default-src" in (value or ""))
    assert policy.startswith("default-src 'none';") and "'unsafe-inline'" not in policy.split("script-src")[1]
    digests = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in page.scripts}
    assert digests == set(re.findall(r"'sha256-([^']+)'", policy)) and len(digests) == 3
    links = [value for tag, name, value in page.attributes if name in ("src", "href", "srcset", "action")]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not {"iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


@pytest.mark.parametrize("where", ["sample", "prompt", "data", "formula", "error", "metric", "version", "model"])
def test_planted_text_is_shown_and_does_nothing(run_dir, where):
    sample = {"step": 0, "prompt": "p", "index": 0, "text": "t", "ended": True}
    manifest, samples, evaluation = {}, [sample], None
    if where == "sample":
        samples = [{**sample, "text": HOSTILE}]
    elif where == "prompt":
        samples = [{**sample, "prompt": HOSTILE}]
    elif where == "formula":
        manifest = {"objective": {"name": HOSTILE, "formula": HOSTILE, "source": HOSTILE}}
    elif where == "error":
        manifest = {"status": "failed", "error": f"{HOSTILE} `{HOSTILE}`"}
    elif where == "version":
        manifest = {"versions": {HOSTILE: HOSTILE}, "rows": [HOSTILE], "data": {HOSTILE: HOSTILE}}
    elif where == "metric":
        evaluation = {HOSTILE: {"mean": 1.0, "low": 0.0, "high": 2.0, "n": 3}}
    run = run_dir(where, manifest=manifest, samples=samples, evaluation=evaluation, **UNDRAWN)
    if where in ("data", "model"):
        value = json.dumps(HOSTILE.replace("\ud800", "�"))
        config = f"model: {value if where == 'model' else 'm'}\ndata: [{{path: {value}}}]\nobjective: {{name: dpo}}\n"
        (run / "config.yaml").write_text(config, encoding="utf-8")
    html = report(run)
    page = Page(html)
    assert "<script>window.planted" in page.text and "⟨U+202E⟩" in page.text
    assert len(page.scripts) == 1 and "planted" not in page.scripts[0]
    assert "img" not in page.tags and "\u202e" not in html


def test_a_failed_run_says_so_first_and_its_headline_is_no_longer_good(run_dir):
    manifest = {"status": "failed", "error": "step 37: the gradient of lm_head is not finite, data rows [81, 4]."}
    html = report(run_dir(manifest=manifest, train=[], evals=[]))
    page = Page(html)
    assert (
        "Problem. The run did not finish (status: failed): step 37: the gradient of lm_head is not finite" in page.text
    )
    assert html.index("notice bad") < html.index('class="headline warn"')


@pytest.mark.parametrize(
    ("status", "said"),
    [("running", "was not finished when this page was written"), ("interrupted", "The run was interrupted")],
)
def test_an_unfinished_run_reports_its_last_evaluation_by_step(run_dir, status, said):
    accuracy = {"accuracy": {"mean": 0.65, "low": 0.6, "high": 0.7, "n": 400}}
    evals = [{"kind": "eval", "step": step, **accuracy} for step in (0, 300)]
    page = Page(report(run_dir(manifest={"status": status}, train=[], evals=evals, evaluation={})))
    assert said in page.text and "the last logged step is 300 of 600" in page.text
    assert "Step 300: 65.0 %" in page.text


def test_values_that_are_not_finite_are_counted_named_and_left_as_gaps(run_dir):
    rows = [{name: train_row(step)[name] for name in ("kind", "step", "loss", "margin")} for step in range(1, 101)]
    rows[36]["loss"] = math.nan
    rows[37]["loss"] = rows[37]["margin"] = None
    page = Page(report(run_dir(train=rows, evals=[])))
    assert "Not finite in 2 logged steps, first in step 37: loss, margin." in page.text


def test_a_run_without_pairs_reports_loss_and_draws_no_margins(run_dir):
    def measure(mean):
        return {"mean": mean, "low": mean - 0.05, "high": mean + 0.05, "n": 300}

    train = [{"kind": "train", "step": s, "nll_per_token": 3 - s / 100, "lr": 1e-5} for s in range(1, 51)]
    evals = [{"kind": "eval", "step": s, "nll_per_token": measure(3 - s / 100)} for s in (0, 25, 50)]
    manifest = {"reference": None, "objective": {"name": "sft", "formula": "−Σ log π / Σ 1", "source": "-"}}
    evaluation = {"nll_per_token": measure(2.5)}
    page = Page(report(run_dir(train=train, evals=evals, samples=[], manifest=manifest, evaluation=evaluation)))
    assert "Held-out loss per token fell from 3.000 to 2.500." in page.text
    assert "Margin" not in page.text and "length alone" not in page.text
    assert page.tags.count("figure") == 2 and "No samples were written." in page.text


def test_what_is_absent_or_broken_is_said(run_dir):
    run = run_dir(train=[{"kind": "train", "step": step, "loss": 1.0} for step in (1, 2, 3)], evals=[])
    for name in ("config.yaml", "samples.jsonl", "evaluation.json"):
        (run / name).unlink()
    with open(run / "metrics.jsonl", "ab") as file:
        file.write(b'{"kind": "train", "st\xff')
    page = Page(report(run))
    assert "config.yaml is absent" in page.text and "samples.jsonl is absent" in page.text
    assert "metrics.jsonl: 1 of 4 lines are not readable and are left out." in page.text


def test_an_empty_run_has_a_page_without_curves_or_claims(run_dir):
    page = Page(report(run_dir(train=[], evals=[], samples=[], evaluation={}, manifest={"status": "running"})))
    assert "cannot say whether it helped" in page.text and "No metric was logged." in page.text
    assert len(page.scripts) == 1  # nothing to draw, so nothing that draws


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="no manifest.json"):
        write_report(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(RunError, match="not readable as JSON"):
        write_report(tmp_path)


def test_many_and_long_samples_are_cut_and_counted(run_dir):
    samples = [
        {"step": step, "prompt": f"p{i}", "index": i, "text": "x" * (CHARACTERS + 1234), "ended": True}
        for step in (0, 9)
        for i in range(PROMPTS + 6)
    ]
    page = Page(report(run_dir(samples=samples, **UNDRAWN)))
    assert page.tags.count("article") == PROMPTS
    assert f"first {PROMPTS} of {PROMPTS + 6}" in page.text and "[1,234 more characters in samples.jsonl]" in page.text


def test_reports_need_no_torch():
    code = "import sys, logratio.report.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


SECTIONS = {
    "Findings",
    "Preflight",
    "Data audit",
    "Held-out pairs",
    "Where the weights changed",
    "Gain against distance",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The page of a run about which everything was found."""
    run = write_run(tmp_path_factory.mktemp("beside") / "dpo", train=[])
    return Page(report(write_beside(run)))


def contents(page):
    return SECTIONS.intersection(page.texts)


def test_each_section_is_there_with_its_data_and_absent_without(whole, run_dir):
    assert contents(whole) == SECTIONS
    assert not contents(Page(report(run_dir(**UNDRAWN))))


def test_the_three_questions_are_answered_at_the_top(whole):
    for said in (
        "Did it get better? ✓ Yes",
        "At what cost?",
        "7.01 nats a response",
        "Can I trust it? ✕ No, not as it stands",
        "To look at first: contradictions.",
        "Preflight: 1 warn, 2 pass. Audit of the data: 1 stop, 1 look, 1 fine. Diagnosis: 1 look, 1 note, 1 fine.",
    ):
        assert said in whole.text, said
    assert ("p", "class", "headline warn") in whole.attributes  # the rise is shown, but not on sound data


def test_every_plot_of_every_kind_has_a_table_and_words(whole):
    plots = whole.tags.count("figure")
    assert plots > 15 and whole.text.count("Numbers behind this plot") == plots
    drawn = [value for tag, name, value in whole.attributes if name == "role" and value == "img"]
    assert len(drawn) == plots


def test_pairs_stand_in_the_browser_with_both_responses_and_their_margins(whole):
    assert "Chosen 40 tokens, rejected 38." in whole.text
    changes = [float(value) for _, name, value in whole.attributes if name == "data-change"]
    assert len(changes) == 72 and min(changes) < 0 < max(changes)
    assert "Of 120 in pairs.jsonl, those whose margin fell most and rose most, and some between." in whole.text


def test_the_calibration_is_drawn_or_its_absence_explained(whole, run_dir):
    assert "Calibration error (ECE) 0.04." in whole.text
    evaluation = {"calibration": {"why_not": "ipo's margin is no log-odds."}}
    assert "Calibration: ipo's margin is no log-odds." in Page(report(run_dir(evaluation=evaluation, **UNDRAWN))).text


def test_what_stands_beside_the_logs_and_cannot_be_read_is_said(run_dir):
    run = run_dir(**UNDRAWN)
    (run / "findings.json").write_text("no JSON")
    assert "Caution. findings.json is not readable as a list of findings and is left out." in Page(report(run)).text


def test_a_page_can_go_elsewhere(run_dir, tmp_path):
    run = run_dir(**UNDRAWN)
    assert write_report(run, tmp_path / "elsewhere.html") == tmp_path / "elsewhere.html"
    assert (tmp_path / "elsewhere.html").is_file() and not (run / "report.html").exists()
