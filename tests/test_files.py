import hashlib
import os
import time

import numpy as np
import pytest

from logratio import files
from logratio.errors import LogratioError
from logratio.files import (
    atomic_folder,
    atomic_path,
    content_hash,
    read_rows,
    read_shard,
    remembered_sha256,
    write_json,
    write_rows,
    write_shard,
)


def test_a_shard_comes_back_and_any_flipped_bit_makes_it_absent(tmp_path):
    path = tmp_path / "a.shard"
    arrays = {"ids": np.arange(7, dtype=np.int32), "none": np.zeros((0, 2), np.float32), "x": np.linspace(0, 1, 5)}
    write_shard(path, arrays, {"made": "here"})
    back, meta = read_shard(path)
    assert meta == {"made": "here"}
    assert all(np.array_equal(back[name], array) and back[name].dtype == array.dtype for name, array in arrays.items())
    whole = path.read_bytes()
    base = 8 + int.from_bytes(whole[:8], "little")
    for at in (base, base + 27, base + 64 + 39):  # first and last byte of ids, last byte of x
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert read_shard(path) is None
    path.write_bytes(whole[: base + 3])
    assert read_shard(path) is None
    assert read_shard(tmp_path / "absent") is None


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == '{\n  "x": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_is_one_sentence():
    from pathlib import Path

    with pytest.raises(LogratioError, match="could not be written .* free space"):
        with atomic_path(Path("/dev/shm/logratio-test.json")) as temporary:
            temporary.write_text("x")
            raise OSError(28, "No space left on device")


def test_the_hash_separates_parts_and_knows_types():
    assert content_hash("ab", "c") != content_hash("a", "bc")
    assert content_hash(np.array([1, 2], np.int32)) != content_hash(np.array([1, 2], np.int64))
    assert content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})


def test_a_file_is_hashed_again_only_where_it_could_have_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path / "cache"))
    read = []
    monkeypatch.setattr(
        files, "sha256_file", lambda path: read.append(path) or hashlib.sha256(path.read_bytes()).hexdigest()
    )
    path, old = tmp_path / "rows.jsonl", time.time_ns() - 10_000_000_000

    def write(text):
        path.write_text(text)
        os.utime(path, ns=(old, old))
        return hashlib.sha256(text.encode()).hexdigest()

    first = write("one")
    assert [remembered_sha256(path), remembered_sha256(path)] == [first, first]
    assert len(read) == 1
    second = write("two")  # of the same size, its time of modification set back: the time of change tells
    assert remembered_sha256(path) == second
    (note,) = (tmp_path / "cache" / "hashes").iterdir()
    note.write_text("{")
    assert remembered_sha256(path) == second and len(read) == 3
    path.write_text("new")  # just now, so a write that follows at once could go unseen
    remembered_sha256(path)
    assert remembered_sha256(path) == hashlib.sha256(b"new").hexdigest() and len(read) == 5


def test_a_folder_is_replaced_when_it_is_complete_and_not_before(tmp_path):
    def write(name, *, fails=None):
        with atomic_folder(tmp_path / "deep" / "model") as folder:
            (folder / "part").mkdir()
            (folder / "part" / name).write_text(name)
            if fails is not None:
                raise fails

    def seen():
        return sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())

    write("first")
    with pytest.raises(KeyboardInterrupt):
        write("second", fails=KeyboardInterrupt())
    with pytest.raises(
        LogratioError, match="deep/model could not be written .No space left on device.; nothing before"
    ):
        write("third", fails=OSError(28, "No space left on device"))
    assert seen() == ["deep/model/part/first"]
    write("fourth")
    assert seen() == ["deep/model/part/fourth"]


def test_rows_come_back_whatever_separators_their_texts_hold(tmp_path):
    rows = [{"text": "one\u2028two\u0085three\x1cfour\r\nfive"}, {"text": "\x0b\x0c"}]
    write_rows(tmp_path / "rows.jsonl", rows)
    (tmp_path / "raw.jsonl").write_text('{"text": "one\u2028two"}\n', encoding="utf-8")
    assert read_rows(tmp_path / "rows.jsonl") == rows and read_rows(tmp_path / "raw.jsonl") == [
        {"text": "one\u2028two"}
    ]


def test_rows_come_back_as_they_were_half_a_surrogate_pair_included(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"text": "half \ud83d, whole 😀, \\ud83d spelt out\u2028"}, {"text": ""}]
    write_rows(path, rows)
    assert read_rows(path) == rows
    path.read_bytes().decode("utf-8")
    with pytest.raises(ValueError, match="JSON compliant"):
        write_rows(path, [{"value": float("nan")}])
    assert read_rows(path) == rows
