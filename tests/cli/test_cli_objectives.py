"""`logratio objectives`: the table follows from the registry."""

from pathlib import Path

import pytest

from logratio import objectives
from logratio.cli.app import main
from logratio.cli.objectives import page
from logratio.train.keys import keys

PAGE = Path(__file__).parents[2] / "docs" / "objectives.md"


def test_every_objective_with_formula_settings_and_source(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    with pytest.raises(SystemExit) as caught:
        main(["objectives"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for name in objectives.names():
        objective = objectives.load(name)
        assert f"{name}: {objective.summary}" in out
        assert objective.formula in out and objective.source in out
        for key in keys(objective.settings, "objective.").values():
            assert f"{key.path} = {key.default}" in out


def test_the_page_in_docs_is_what_the_registry_says():
    """Written by `logratio objectives --markdown > docs/objectives.md`."""
    everything = {name: objectives.load(name) for name in objectives.names()}
    assert PAGE.read_text(encoding="utf-8") == page(everything) + "\n"


def test_one_objective_is_shown_by_name(capsys):
    with pytest.raises(SystemExit):
        main(["objectives", "ipo"])
    out = capsys.readouterr().out
    assert "ipo: " in out and "arXiv:2310.12036" in out and "kto: " not in out
