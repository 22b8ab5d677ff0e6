"""`logratio objectives`: the table follows from the registry."""

import shlex
from pathlib import Path

import pytest
import yaml

from logratio import objectives
from logratio.cli.app import main
from logratio.cli.objectives import page
from logratio.errors import ConfigError
from logratio.objectives.methods import METHODS
from logratio.train.keys import keys
from logratio.train.recipe import resolve

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "objectives.md"


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
    assert PAGE.read_text(encoding="utf-8") == page(everything, METHODS) + "\n"


def test_one_objective_is_shown_by_name(capsys):
    with pytest.raises(SystemExit):
        main(["objectives", "ipo"])
    out = capsys.readouterr().out
    assert "ipo: " in out and "arXiv:2310.12036" in out and "kto: " not in out


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_is_no_loss_of_its_own_leads_to_its_recipe_and_to_options_that_say_the_same(name, capsys):
    method = METHODS[name]
    for words in (["objectives", name], ["train", "--model", "m", "--data", "d", "--objective", name]):
        if words[0] == "objectives" or name not in objectives.names():
            with pytest.raises(SystemExit):
                main(words)
            told = capsys.readouterr()
            assert f"run {method.command}" in told.out + told.err
    recipe = yaml.safe_load((ROOT / method.recipe).read_text(encoding="utf-8"))
    words = shlex.split(method.options)
    given = {
        path.removeprefix("--"): yaml.safe_load(value) for path, value in zip(words[::2], words[1::2], strict=True)
    }
    judge = {} if name == "hybrid" else {"judge": "rewards:score"}
    config = resolve({"model": "m", "data": "d", **judge}, given).config
    shown = resolve(ROOT / method.recipe).config
    assert config.objective["name"] == shown.objective["name"] == recipe["objective"]["name"]
    if name != "hybrid":
        for key in ("k", "rounds", "keep", "edges", "redraw"):
            assert getattr(config.rollout, key) == getattr(shown.rollout, key), key
        assert config.objective == shown.objective
        assert config.reference_sync == shown.reference_sync and config.train.epochs == shown.train.epochs


def test_a_method_is_known_however_its_words_are_joined():
    with pytest.raises(ConfigError, match='"Best-of-N" is no loss of its own but sft on the one of n .*best-of-n.yaml'):
        objectives.load("Best-of-N")
