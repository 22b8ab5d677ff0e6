"""`logratio report`: one run's page again, several compared, and errors in one sentence."""

import pytest
from report_runs import write_run

from logratio.cli.app import main


@pytest.fixture
def runs(tmp_path):
    return [write_run(tmp_path / name, train=[], evals=[], samples=[]) for name in "ab"]


@pytest.fixture
def called(capsys):
    def call(*words):
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in words])
        told = capsys.readouterr()
        return caught.value.code, told.out.strip(), told.err

    return call


def test_one_run_gets_its_page_in_its_folder_or_elsewhere(called, runs, tmp_path):
    assert called("report", runs[0])[:2] == (0, str(runs[0] / "report.html"))
    assert called("report", runs[0], "--output", tmp_path / "x.html")[:2] == (0, str(tmp_path / "x.html"))
    assert (runs[0] / "report.html").is_file() and (tmp_path / "x.html").is_file()


def test_several_runs_are_compared_here_or_elsewhere(called, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert called("report", *runs)[:2] == (0, "comparison.html")
    assert called("report", *runs, "--output", tmp_path / "x.html")[:2] == (0, str(tmp_path / "x.html"))
    assert "2 runs compared" in (tmp_path / "comparison.html").read_text(encoding="utf-8")


def test_without_a_run_or_with_one_twice_it_says_what_to_give(called, runs):
    code, _, said = called("report")
    assert code == 2 and "RUN" in said or "no run directory was given" in said
    code, _, said = called("report", runs[0], runs[0])
    assert code == 2 and "give two or more different run directories" in said
