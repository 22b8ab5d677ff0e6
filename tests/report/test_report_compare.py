"""Several runs on one page: who is ahead and whether that is shown, curves and planes over each other, what differs."""

import json

import pytest
from report_beside import write_beside
from report_pages import HOSTILE, Page
from report_runs import eval_row, train_row, write_run

from logratio.errors import RunError
from logratio.report.compare import labels, write_comparison

TRAIN = [train_row(step) for step in range(1, 31)]
EVALS = [eval_row(step) for step in (0, 60, 120)]


def measured(accuracy, half=0.02, kl=5.0):
    return {
        "accuracy": {"mean": accuracy, "low": accuracy - half, "high": accuracy + half, "n": 480},
        "kl": {"mean": kl, "low": kl - 0.5, "high": kl + 0.5, "n": 128},
    }


@pytest.fixture
def compared(tmp_path):
    def write(*accuracies, **parts):
        runs = []
        for i, accuracy in enumerate(accuracies):
            parts = {"train": [], "evals": [], "samples": [], **parts}
            runs.append(write_run(tmp_path / "abcdef"[i], evaluation=measured(accuracy), **parts))
        return Page(write_comparison(runs, tmp_path / "c.html").read_text(encoding="utf-8"))

    return write


def test_the_best_is_named_only_as_far_as_intervals_part(compared):
    assert "highest held-out accuracy is 70.0 %, of b; its interval lies apart from those" in compared(0.6, 0.7).text
    touching = compared(0.6, 0.7, 0.71).text
    assert "is 71.0 %, of c, but it is not shown to be better than b: the intervals touch." in touching


def test_runs_lie_over_each_other_in_curves_and_planes(compared):
    page = compared(0.6, 0.7, train=TRAIN, evals=EVALS)
    assert "Gain against distance" in page.text and "Pair accuracy against KL(π‖π_ref)" in page.text
    spoken = [value for _, name, value in page.attributes if name == "aria-label" and value.startswith("Loss by step")]
    assert len(spoken) == 1 and "a: from" in spoken[0] and "; b: from" in spoken[0]
    assert page.tags.count("figure") == page.text.count("Numbers behind this plot") == 2 + 8


def test_settings_that_differ_are_listed_and_equal_ones_are_not(tmp_path, compared):
    compared(0.6, 0.7)
    config = (tmp_path / "b" / "config.yaml").read_text().replace("beta: 0.1", "beta: 0.5")
    (tmp_path / "b" / "config.yaml").write_text(config)
    page = Page(write_comparison([tmp_path / "a", tmp_path / "b"], tmp_path / "c.html").read_text(encoding="utf-8"))
    assert "objective.beta" in page.text and "train.lr" not in page.text


def test_what_was_found_of_each_run_stands_side_by_side(tmp_path, compared):
    compared(0.6, 0.7)
    write_beside(tmp_path / "b")
    page = Page(write_comparison([tmp_path / "a", tmp_path / "b"], tmp_path / "c.html").read_text(encoding="utf-8"))
    for said in ("nobody looked", "✕ stop", "1 stop, 1 look, 1 fine", "contradictions", "1 warn, 2 pass"):
        assert said in page.text, said


@pytest.mark.parametrize(
    ("prints", "said"),
    [
        (("x", "x"), "All were measured on the same held-out data."),
        (("x", "y"), "were not measured on the same data"),
        ((None, None), "is not recorded"),
    ],
)
def test_other_data_is_told(tmp_path, compared, prints, said):
    compared(0.6, 0.7)
    for name, value in zip("ab", prints, strict=True):
        file = tmp_path / name / "manifest.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "data": {"fingerprint": value} if value else {}}))
    page = Page(write_comparison([tmp_path / "a", tmp_path / "b"], tmp_path / "c.html").read_text(encoding="utf-8"))
    assert said in page.text


def test_a_run_that_failed_is_told_by_its_name(compared):
    page = compared(0.6, 0.7, manifest={"status": "failed", "error": f"step 3 {HOSTILE}"})
    assert "a: The run did not finish (status: failed): step 3" in page.text
    assert len(page.scripts) == 1 and "img" not in page.tags


def test_one_run_or_the_same_twice_is_nothing_to_compare(tmp_path):
    run = write_run(tmp_path / "a", train=[], evals=[])
    for given in ([run], [run, run]):
        with pytest.raises(RunError, match="give two or more different run directories"):
            write_comparison(given, tmp_path / "c.html")
    with pytest.raises(RunError, match="no manifest.json"):
        write_comparison([run, tmp_path], tmp_path / "c.html")


def test_names_are_as_short_as_tells_them_apart(tmp_path):
    assert labels([tmp_path / "x" / "dpo", tmp_path / "x" / "ipo"]) == ["dpo", "ipo"]
    assert labels([tmp_path / "x" / "dpo", tmp_path / "y" / "dpo"]) == ["x/dpo", "y/dpo"]
