"""Checkpoints are whole or absent, whatever happens while they are written, and checked when they are read."""

import json
import multiprocessing
import resource
import time
from contextlib import contextmanager

import pytest
import torch

from logratio.errors import CheckpointError, LogratioError
from logratio.maths.counter import stream
from logratio.train.checkpoint import PROGRESS, STATE, Progress, keep_last, load, name_of, save


def tensors(step, size=1000):
    return {"weight/w": torch.full((size,), float(step)), "exp_avg/w": torch.arange(size) / 7 + step}


def saved(folder, step, size=1000, **changes):
    progress = Progress(**{"step": step, "reference": "r", "offsets": {"metrics.jsonl": 10 * step}, **changes})
    return save(folder, tensors(step, size), progress)


def test_what_was_saved_comes_back_bit_for_bit(tmp_path):
    best = {"metric": "eval/accuracy", "value": 0.1 + 0.2, "step": 3}
    path = saved(tmp_path / "checkpoints", 7, best=best)
    assert path.name == name_of(7)
    back, progress = load(path)
    assert progress == Progress(7, "r", {"metrics.jsonl": 70}, best)
    assert back.keys() == tensors(7).keys()
    assert all(torch.equal(back[name], value) for name, value in tensors(7).items())


def test_names_sort_by_step():
    assert sorted(map(name_of, (1000, 9, 10, 200))) == [name_of(step) for step in (9, 10, 200, 1000)]


def test_only_the_newest_and_the_best_stay(tmp_path):
    paths = [saved(tmp_path, step) for step in range(1, 7)]
    keep_last(paths, 2, best=name_of(3))
    assert sorted(path.name for path in tmp_path.iterdir()) == [name_of(step) for step in (3, 5, 6)]
    keep_last(sorted(tmp_path.iterdir()), 1)
    assert [path.name for path in tmp_path.iterdir()] == [name_of(6)]


def save_for_ever(folder):
    torch.set_num_threads(1)
    for step in range(1, 100_000):
        saved(folder, step, size=200_000)
        keep_last(sorted(folder.glob("step-*")), 2)


def test_kills_while_saving_leave_whole_checkpoints(tmp_path):
    """Killed 12 times at random moments of an endless sequence of saves: whatever has a name can be loaded."""
    draw, forks = stream(0, "kills while saving"), multiprocessing.get_context("fork")
    between = 0
    for _ in range(12):
        process = forks.Process(target=save_for_ever, args=(tmp_path,))
        process.start()
        while not list(tmp_path.glob("step-*")):
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.04))
        process.kill()
        process.join()
        complete = sorted(tmp_path.glob("step-*"))
        between += bool(list(tmp_path.glob(".*")))
        assert 1 <= len(complete) <= 3
        for path in complete:
            back, progress = load(path)
            expected = tensors(progress.step, 200_000)
            assert path.name == name_of(progress.step)
            assert all(torch.equal(back[name], value) for name, value in expected.items())
    assert between  # some of the kills did come in the middle of a save


@pytest.mark.parametrize("place", [0, 9, 60, 5_000, -1])
def test_a_changed_byte_of_the_tensors_is_detected(tmp_path, place):
    path = saved(tmp_path, 4)
    body = bytearray((path / STATE).read_bytes())
    body[place] ^= 1
    (path / STATE).write_bytes(body)
    with pytest.raises(CheckpointError, match=rf"{path} is corrupt: {STATE} does not match its hash; delete {path}"):
        load(path)


def test_changed_progress_is_detected(tmp_path):
    path = saved(tmp_path, 4)
    meta = json.loads((path / PROGRESS).read_text())
    (path / PROGRESS).write_text(json.dumps({**meta, "step": 5}))
    with pytest.raises(CheckpointError, match=rf"is corrupt: {PROGRESS} does not match"):
        load(path)


@pytest.mark.parametrize("spoil", ["no state", "no progress", "half of progress", "other progress", "empty progress"])
def test_an_incomplete_checkpoint_says_so(tmp_path, spoil):
    path = saved(tmp_path, 4)
    text = (path / PROGRESS).read_text()
    if spoil.startswith("no "):
        (path / {"no state": STATE, "no progress": PROGRESS}[spoil]).unlink()
    else:
        new = {"half of progress": text[: len(text) // 2], "other progress": "[1, 2]", "empty progress": "{}"}[spoil]
        (path / PROGRESS).write_text(new)
    with pytest.raises(CheckpointError, match="is incomplete or unreadable .* delete .* or start a new run"):
        load(path)


@contextmanager
def files_of_at_most(size):
    """Let the system refuse to write more than `size` bytes into a file, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_and_leaves_the_earlier_checkpoint(tmp_path):
    saved(tmp_path, 1)
    with (
        files_of_at_most(3000),
        pytest.raises(LogratioError, match="be written .*File too large.* nothing before it is lost"),
    ):
        saved(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == [name_of(1)]
    assert load(tmp_path / name_of(1))[1].step == 1


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(LogratioError, match="could not be written"):
        saved(tmp_path / "checkpoints", 1)
