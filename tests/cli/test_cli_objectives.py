"""`logratio objectives`: the table follows from the registry."""

import pytest

from logratio import objectives
from logratio.cli.app import main
from logratio.train.keys import keys


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
