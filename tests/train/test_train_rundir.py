"""A run directory belongs to one run at a time and is never overwritten."""

import json
import math
import subprocess
import sys

import pytest
import small_run

from logratio.errors import DataError, RunError
from logratio.train.rundir import LOGS, RunDirectory

OTHER = """
import os, pathlib, sys
from logratio.train.rundir import RunDirectory
run = RunDirectory.{}(pathlib.Path(sys.argv[1]))
"""
TRAINED = {"kind": "train", "step": 1, "loss": 0.5}


@pytest.fixture
def create():
    """Create run directories that are closed after the test."""
    made = []

    def make(path):
        made.append(RunDirectory.create(path))
        return made[-1]

    yield make
    for run in made:
        run.close()


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_new_directory_takes_rows_and_a_recipe(tmp_path, create):
    run = create(tmp_path / "deep" / "r")
    run.append("metrics.jsonl", {"kind": "eval", "name": "é", "loss": {"mean": math.nan, "low": -math.inf, "n": 3}})
    run.append("metrics.jsonl", TRAINED)
    run.config("model: m\n")
    measured = {"mean": None, "low": None, "n": 3}
    assert rows(run.path / "metrics.jsonl") == [{"kind": "eval", "name": "é", "loss": measured}, TRAINED]
    assert run.steps_made() == 1
    assert (run.path / "config.yaml").read_text() == "model: m\n"
    assert run.manifest(seed=1) == {"seed": 1}
    assert run.manifest(status="running") == {"seed": 1, "status": "running"} == run.manifest()


def test_a_run_that_made_a_step_is_not_overwritten(tmp_path, create):
    run = create(tmp_path / "r")
    run.append("metrics.jsonl", TRAINED)
    run.close()
    with pytest.raises(RunError, match=rf"already holds a run of 1 steps; continue it with --resume {run.path}"):
        create(run.path)
    assert rows(run.path / "metrics.jsonl") == [TRAINED]


def test_a_checkpoint_alone_protects_a_run(tmp_path, create):
    run = create(tmp_path / "r")
    (run.path / "checkpoints" / "step-00000001").mkdir(parents=True)
    run.close()
    with pytest.raises(RunError, match="already holds a run"):
        create(run.path)


def test_one_that_never_made_a_step_is_reusable_with_all_that_a_kill_left(tmp_path, create):
    run = create(tmp_path / "r")
    run.append("metrics.jsonl", {"kind": "eval", "step": 0})
    run.config("model: m\n")
    run.manifest(status="running")
    for left in (".manifest.json.0123abcd.tmp", ".config.yaml.89abcdef.tmp"):
        (run.path / left).write_text("half")
    for left in (".model.0123abcd.tmp", "checkpoints/.step-00000001.0123abcd.tmp", "tensorboard"):
        (run.path / left).mkdir(parents=True)
    run.close()
    again = create(run.path)
    assert rows(again.path / "metrics.jsonl") == []
    assert {path.name for path in again.path.iterdir() if path.name.endswith(".tmp")} == set()
    assert list((again.path / "checkpoints").iterdir()) == []


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path, create):
    (tmp_path / "thesis.tex").write_text("mine")
    (tmp_path / ".thesis.0123abcd.tmp").write_text("mine too")
    with pytest.raises(RunError, match=r"holds files that are not a run's \(.thesis.0123abcd.tmp, thesis.tex\)"):
        create(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "mine" and (tmp_path / ".thesis.0123abcd.tmp").exists()
    (tmp_path / "thesis.tex").unlink()
    (tmp_path / ".thesis.0123abcd.tmp").unlink()
    create(tmp_path)  # the refusal has let go of it


def test_a_directory_in_use_is_refused_until_it_is_closed(tmp_path, create):
    run = create(tmp_path / "r")
    run.config("model: m\n")
    for claim in (create, RunDirectory.open):
        with pytest.raises(RunError, match="is in use by another process"):
            claim(run.path)
    done = subprocess.run([sys.executable, "-c", OTHER.format("open"), run.path], capture_output=True, text=True)
    assert done.returncode and "is in use by another process" in done.stderr
    run.close()
    RunDirectory.open(run.path).close()


def test_a_killed_owner_does_not_keep_its_directory(tmp_path):
    killed = OTHER.format("create") + "run.config('m'); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", killed, tmp_path / "r"]).returncode == -9
    RunDirectory.open(tmp_path / "r").close()


@pytest.mark.parametrize("place", ["file/r", "/proc/logratio"])
def test_a_place_that_cannot_be_written_is_told(tmp_path, create, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot be made \(.+\); choose a folder you can write to with --output"):
        create(tmp_path / place)


def test_a_log_that_cannot_be_written_is_told(tmp_path, create):
    """/dev/full answers every write as a full disk does."""
    run = create(tmp_path / "r")
    (run.path / "metrics.jsonl").unlink()
    (run.path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"could not be written \(No space left on device\); checkpoints are intact"):
        run.append("metrics.jsonl", TRAINED)


def test_logs_are_cut_back_to_a_checkpoint_and_never_filled_up(tmp_path, create):
    run = create(tmp_path / "r")
    run.append("metrics.jsonl", TRAINED)
    at = run.offsets()
    assert at == {"metrics.jsonl": (run.path / "metrics.jsonl").stat().st_size, "samples.jsonl": 0, "margins.jsonl": 0}
    for log in LOGS:
        run.append(log, TRAINED)
    run.cut(at)
    assert rows(run.path / "metrics.jsonl") == [TRAINED] and rows(run.path / "samples.jsonl") == []
    run.cut({"metrics.jsonl": 10_000})  # someone deleted lines: nothing is put in their place
    assert rows(run.path / "metrics.jsonl") == [TRAINED]
    run.cut({})
    assert rows(run.path / "metrics.jsonl") == []


def test_what_holds_no_run_cannot_be_resumed(tmp_path):
    with pytest.raises(RunError, match=r"holds no run \(config.yaml is missing\)"):
        RunDirectory.open(tmp_path)


def test_other_ranks_write_nothing(tmp_path, create):
    create(tmp_path / "r")
    before = {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()}
    other = RunDirectory(tmp_path / "r", None)
    other.append("metrics.jsonl", TRAINED)
    other.config("model: m\n")
    assert other.manifest(status="running") == {"status": "running"}
    other.cut({})
    other.close()
    assert {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()} == before


def test_a_run_that_is_refused_leaves_no_folder_behind(tmp_path):
    """But for one that was there, and one in which there is something to look at."""
    world = small_run.world(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "b"}\n')
    with pytest.raises(DataError):
        small_run.run(**world, output=tmp_path / "new" / "run")
    assert not (tmp_path / "new" / "run").exists()
    (tmp_path / "there").mkdir()
    with pytest.raises(DataError):
        small_run.run(**world, output=tmp_path / "there")
    assert (tmp_path / "there").is_dir()
    run = RunDirectory.create(tmp_path / "begun")
    run.append("metrics.jsonl", {"kind": "train", "step": 1})
    run.discard()
    assert run.steps_made() == 1
    run.close()
