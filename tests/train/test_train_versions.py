"""Recipes of other versions: a newer one is refused before anything loads; a renamed key names its successor."""

from pathlib import Path

import pytest
import yaml
from small_run import metrics, pairs, start_model, write_rows

from logratio import objectives
from logratio.cli.app import main
from logratio.config import VERSION, RunConfig
from logratio.errors import ConfigError, RunError
from logratio.logps.subject import subject_of
from logratio.train import versions
from logratio.train.api import run
from logratio.train.keys import keys
from logratio.train.recipe import resolve, to_yaml

LEAST = {"model": "m", "data": "d.jsonl"}
WRITTEN = (Path(__file__).parent / "recipe_keys.txt").read_text(encoding="utf-8").split()


def test_a_recipe_says_its_version_wherever_it_is_written():
    assert yaml.safe_load(to_yaml(resolve(LEAST).config))["version"] == VERSION
    assert resolve(LEAST | {"version": VERSION}).config == resolve(LEAST).config


@pytest.mark.parametrize("version", [0, -1, "new", 1.5, True])
def test_what_is_no_version_is_refused(version):
    with pytest.raises(ConfigError, match="`version` of the recipe is .*, but must be a whole number > 0"):
        resolve(LEAST | {"version": version})


def test_a_newer_recipe_is_refused_as_such_and_not_for_keys_that_are_unknown_here(tmp_path):
    recipe = tmp_path / "new.yaml"
    recipe.write_text(yaml.safe_dump(LEAST | {"version": VERSION + 1, "invented_later": 3}))
    with pytest.raises(ConfigError) as caught:
        resolve(recipe)
    said = str(caught.value)
    assert str(recipe) in said and f"version {VERSION + 1}" in said and "pip install --upgrade" in said
    assert "invented_later" not in said and "\n" not in said


def test_a_run_of_a_newer_version_is_neither_resumed_nor_touched(tmp_path, capsys):
    data = write_rows(tmp_path / "pairs.jsonl", pairs(24))
    small = {"train.batch_size": 8, "eval.samples": 0, "output": str(tmp_path / "run")}
    run(resolve({"model": str(start_model(tmp_path / "start")), "data": str(data)}, small))
    recipe = tmp_path / "run" / "config.yaml"
    recipe.write_text(recipe.read_text().replace(f"version: {VERSION}", f"version: {VERSION + 1}\ninvented_later: 3"))
    before = metrics(tmp_path / "run")
    with pytest.raises(SystemExit) as caught:
        main(["train", "--resume", str(tmp_path / "run")])
    assert caught.value.code == 2 and "a newer one wrote it" in capsys.readouterr().err
    assert metrics(tmp_path / "run") == before
    with pytest.raises(RunError, match=f"version {VERSION + 1} and cannot be read .*invented_later"):
        subject_of(tmp_path / "run")


def test_a_renamed_key_names_its_successor(monkeypatch):
    monkeypatch.setattr(versions, "FORMER", {"train.rate": "train.lr", "steps": "train.epochs"})
    with pytest.raises(ConfigError) as caught:
        resolve(LEAST | {"train": {"rate": 1e-5}, "steps": 2})
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("`train.rate` is called `train.lr`") and lines[0].endswith("write `train.lr: 1e-5`.")


def test_every_key_that_a_release_has_written_is_a_key_or_names_its_successor():
    settings = [path for name in objectives.names() for path in keys(objectives.load(name).settings, "objective.")]
    valid = {*keys(RunConfig), *settings}
    assert len(WRITTEN) > 100
    assert not [path for path in WRITTEN if path not in valid and versions.FORMER.get(path) not in valid]
    assert set(versions.FORMER.values()) <= valid
    assert valid <= {*WRITTEN}, "add them to recipe_keys.txt"
