"""What the page shows of a run on fresh responses: every metric, its rounds, what judging cost."""

import pytest
from report_beside import write_rounds
from report_pages import HOSTILE, Page

from logratio.metrics.phases import PHASES
from logratio.report.names import PANELS
from logratio.report.page import write_report

STEPS = [
    {"judge_calls": 8.0, "judge_tokens_in": 900.0, "judge_cost": 0.25, "judge_seconds": 1.5, "judge_failures": 0.0},
    {"judge_calls": 7.0, "judge_tokens_in": 800.0, "judge_cost": 0.5, "judge_failures": 2.0},
    {"judge_failures": 0.0, "redrawn": 0.0, "text_nll": 2.5},
]


def titled(page):
    return [text.strip() for text in page.texts]


@pytest.fixture
def page_of(run_dir):
    def write(failures=2.0, references=(), **files):
        rows = [{"kind": "train", "step": n, **row} for n, row in enumerate(STEPS, 1)]
        rows[1]["judge_failures"] = failures
        spent = {"kind": "eval", "step": 0, "judge_calls": 3.0, "judge_cost": 0.125, "reward": {"mean": 0.25}}
        run = write_rounds(
            run_dir(f"run {len(references)} {failures}", train=rows, evals=[spent], samples=[]), list(references)
        )
        for name, text in files.items():
            (run / "rounds" / name).mkdir()
            (run / "rounds" / name / "round.json").write_text(text)
        return Page(write_report(run).read_text(encoding="utf-8"))

    return write


def test_every_metric_of_fresh_responses_is_drawn_somewhere():
    drawn = {name for panel in PANELS for name in panel.metrics}
    assert drawn >= {*PHASES, "thought_length", "answer_length"}


def test_costs_add_up_over_training_and_evaluations_and_panels_without_news_are_left_out(page_of):
    page = page_of()
    for said in (
        "Calls to the judge (requests) 15 3 18",
        "Cost of judging (in the unit of the price) 0.75 0.125 0.875",
    ):
        assert said in page.text
    assert "Tokens the judge read (tokens) 1,700 – 1,700" in page.text and "Time of judging (s) 1.5 – 1.5" in page.text
    shown = titled(page)
    assert "Prompts lost and replaced" in shown and "Loss of mixed texts" in shown and "Retries" not in page.text
    assert "Prompts lost and replaced" not in titled(page_of(failures=0.0))


def test_rounds_stand_under_what_was_measured_before_them_with_their_reference(page_of):
    page = page_of(references=["the start", "rounds/01/model", HOSTILE], bad="{}")
    assert "before – 0.25 1 of 3 1 to 10 1.00 [0.50, 1.50] 2 of 3 11 to 20" in page.text
    assert "The reference of round 1: the start; of round 2: rounds/01/model; and so on." in page.text
    assert "rounds/bad says nothing readable of its round and is left out." in page.text
    planted = page_of(references=[HOSTILE])
    assert "<script>window.planted" in planted.text and not any("planted" in own for own in planted.scripts)
