"""The diagnosis while a run goes on: warnings, findings.json, a stop on collapse."""

import json

import pytest
import yaml
from small_run import RECIPE, metrics, run, world

from logratio.config import RunConfig
from logratio.errors import CollapseError
from logratio.train.rundir import RunDirectory
from logratio.train.watch import Watch


def measure(mean, half=0.0, n=400):
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": n}


def evaluation(step, **measures):
    return {"kind": "eval", "step": step, **measures}


SOUND = {"repetition": measure(0.02, 0.02), "ended": measure(0.95, 0.04)}
GONE = {"repetition": measure(0.7, 0.05), "ended": measure(0.95, 0.04)}


def watched(path, *rows, stop_on=None):
    """Return a watch that has taken rows, looking after each evaluation, and what it told."""
    told, directory = [], RunDirectory.create(path)
    config = RunConfig(model="m", data="d", stop_on=stop_on)
    watch = Watch(directory, config, 100, lambda kind, **data: told.append((kind, data["text"])))
    for row in rows:
        watch.add(row)
        if row["kind"] == "eval":
            watch.look(row["step"])
    return watch, told, directory


def test_a_finding_is_told_once_and_again_when_it_is_worse(tmp_path):
    worse = {**SOUND, "repetition": measure(0.2, 0.03)}
    rows = [evaluation(step, **own) for step, own in enumerate([SOUND, SOUND, worse, worse, GONE, GONE, SOUND])]
    _, told, directory = watched(tmp_path / "run", *rows)
    assert [text.split(":")[0] for _, text in told] == ["step 2, collapse", "step 4, collapse"]
    assert {kind for kind, _ in told} == {"warning"} and "Go back to a checkpoint" in told[0][1]
    written = json.loads((directory.path / "findings.json").read_text())
    ((own,),) = (written,)
    assert (own["name"], own["level"]) == ("collapse", "fine")  # as things stand now
    assert (own["past"]["level"], own["past"]["step"]) == ("stop", 4) and "70 % of 4-grams" in own["past"]["says"]
    directory.close()


@pytest.mark.parametrize("stop_on", [None, "collapse"])
def test_a_collapse_stops_the_run_only_where_that_was_asked_for(stop_on, tmp_path):
    watch, _, directory = watched(tmp_path / "run", evaluation(0, **SOUND), evaluation(9, **GONE), stop_on=stop_on)
    if stop_on is None:
        watch.require_sound(9, lambda text: text)
    else:
        with pytest.raises(CollapseError, match=r"stopped after step 9, .* 70 % of 4-grams"):
            watch.require_sound(9, lambda text: text)
        other = Watch(RunDirectory(directory.path, None), watch.config, 100, watch.emit)  # another process
        other.look(9)
        with pytest.raises(CollapseError):
            other.require_sound(9, lambda _: "70 %")
    directory.close()


def test_a_sound_run_goes_on(tmp_path):
    watch, told, directory = watched(
        tmp_path / "run", evaluation(0, **SOUND), evaluation(9, **SOUND), stop_on="collapse"
    )
    watch.require_sound(9, lambda text: text)
    assert told == []
    directory.close()


def test_a_run_that_collapses_stops_keeps_its_checkpoints_and_says_why(tmp_path):
    """At learning rate 3, the small model soon writes one word again and again."""
    given = world(tmp_path)
    changes = {"train.lr": 3.0, "eval.samples": 24, "eval.max_new_tokens": 16, "train.epochs": 4, "every.eval": 0.1}
    with pytest.raises(CollapseError, match="stop_on is collapse"):
        run(**given, **changes, output=tmp_path / "run", stop_on="collapse")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["status"] == "failed" and "samples have collapsed" in manifest["error"]
    assert list((tmp_path / "run" / "checkpoints").iterdir()) and not (tmp_path / "run" / "model").exists()
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["stop_on"] == "collapse"
    rows = metrics(tmp_path / "run")
    assert rows[-1]["kind"] == "eval" and rows[-1]["step"] < manifest["steps"]


def test_watching_changes_no_number_and_a_resumed_run_remembers(tmp_path, monkeypatch):
    given = world(tmp_path)
    run(**given, output=tmp_path / "one")
    run(**given, output=tmp_path / "two", stop_at=("train", 3, ["SIGTERM"]))
    run(**given, output=tmp_path / "two", resume=str(tmp_path / "two"))
    assert metrics(tmp_path / "one") == metrics(tmp_path / "two")
    assert (tmp_path / "one" / "findings.json").read_text() == (tmp_path / "two" / "findings.json").read_text()
    monkeypatch.setattr(Watch, "look", lambda self, done: None)
    run(**given, output=tmp_path / "three")
    assert metrics(tmp_path / "one") == metrics(tmp_path / "three")
    assert RECIPE["every.eval"] == 0.25
