"""`logratio cache`: sizes, and what pruning takes and leaves."""

import os
import time

import numpy as np
import pytest
from commands import called

from logratio.files import read_shard, write_shard
from logratio.logps.names import made_names, remembered_names
from logratio.testing.worlds import random_groups

DAY = 86_400


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path))
    for name in ("fresh", "old", "damaged"):
        write_shard(tmp_path / "reference" / "key" / f"{name}.shard", {"logp": np.arange(1000.0)})
        write_shard(tmp_path / "tokens" / name / "0.shard", {"tokens": np.arange(1000)})
    age(tmp_path / "tokens" / "old" / "0.shard", 60 * DAY)
    for path in (tmp_path / "reference" / "key" / "damaged.shard", tmp_path / "tokens" / "damaged" / "0.shard"):
        content = bytearray(path.read_bytes())
        content[-100] ^= 1
        path.write_bytes(content)
    (tmp_path / "worlds" / "nano").mkdir(parents=True)
    (tmp_path / "worlds" / "nano" / "model.bin").write_bytes(b"x" * 1500)
    return tmp_path


def age(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def printed(capsys, *words):
    """Return what a command that succeeds prints."""
    code, out, _ = called(capsys, *words)
    assert code == 0
    return out


def test_sizes_by_kind(cache, capsys):
    rows = {line.split()[0]: line.split() for line in printed(capsys, "cache").splitlines()[1:]}
    assert rows["tokens"][1] == "3" and rows["reference"][1] == "1"
    assert rows["worlds"][1:4] == ["1", "1.5", "kB"]


def test_pruning_takes_damaged_old_and_left_over_and_leaves_the_rest(cache, capsys):
    abandoned, writing = cache / "tokens" / ".a.tmp", cache / "tokens" / ".b.tmp"
    for path in (abandoned, writing):
        path.write_bytes(b"half")
    age(abandoned, 2 * DAY)
    said = printed(capsys, "cache", "--prune")
    assert "1 unused for 30 days, 2 damaged, 1 left over" in said
    left = {str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file()}
    assert left == {
        "reference/key/fresh.shard",
        "reference/key/old.shard",
        "tokens/fresh/0.shard",
        "tokens/.b.tmp",
        "worlds/nano/model.bin",
    }
    assert all(read_shard(path) is not None for path in cache.rglob("*.shard"))


def test_looking_for_damage_does_not_count_as_use(cache, capsys):
    shard = cache / "tokens" / "fresh" / "0.shard"
    age(shard, 20 * DAY)
    printed(capsys, "cache", "--prune")
    assert shard.is_file()
    printed(capsys, "cache", "--prune", "--days", "10")
    assert not shard.exists()


def test_notes_of_blocks_names_are_shown_and_pruned_like_the_rest(tmp_path, monkeypatch, capsys):
    """Written by a naming of real groups; one is unused for long, one damaged."""
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path))

    class Known(list):
        def __init__(self, seed):
            super().__init__(random_groups(6, seed=seed))
            self.identity = str(seed)

    notes = []
    for seed in range(3):
        made_names(Known(seed), 4)
        (new,) = set((tmp_path / "names").iterdir()) - set(notes)
        notes.append(new)
    rows = {line.split()[0]: line.split() for line in printed(capsys, "cache").splitlines()[1:]}
    assert rows["names"][1] == "3"
    age(notes[0], 60 * DAY)
    notes[1].write_bytes(notes[1].read_bytes()[:-64])
    assert "1 unused for 30 days, 1 damaged, 0 left over" in printed(capsys, "cache", "--prune")
    assert [remembered_names(Known(seed), 4) is not None for seed in range(3)] == [False, False, True]


def test_an_empty_cache_is_no_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path / "none"))
    assert "0 B" in printed(capsys, "cache")
    assert "removed 0 B" in printed(capsys, "cache", "--prune")
