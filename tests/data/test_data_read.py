import csv
import gzip
import json
import re
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logratio.config import DataPart
from logratio.data.containers import BadRow, file_rows
from logratio.data.hub import HubName, hub_rows
from logratio.data.read import rows, rows_of
from logratio.errors import DataError

ROWS = [{"prompt": f"p{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(5)]


def write(path: Path, data=ROWS) -> Path:
    """Write rows in the container that the name's suffix says."""
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    plain.parent.mkdir(parents=True, exist_ok=True)
    if plain.suffix == ".jsonl":
        plain.write_text("".join(json.dumps(row) + "\n" for row in data), encoding="utf-8")
    elif plain.suffix == ".json":
        plain.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    elif plain.suffix == ".csv":
        with plain.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(data[0]))
            writer.writeheader()
            writer.writerows(data)
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(data), plain)
    if plain != path:
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return path


def read(path, **part):
    return list(rows(DataPart(path=str(path), **part)))


def values(items):
    return [value for value, _ in items]


CONTAINERS = [f"{suffix}{zipped}" for suffix in (".jsonl", ".json", ".csv", ".parquet") for zipped in ("", ".gz")]


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_every_container_gives_its_rows_in_order_with_their_origin(tmp_path, suffix):
    path = write(tmp_path / f"rows{suffix}")
    items = read(path)
    assert values(items) == ROWS
    assert [str(origin) for _, origin in items] == [f"{path}, row {number}" for number in range(1, 6)]


_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)


@settings(max_examples=25, deadline=None)
@given(data=st.lists(st.fixed_dictionaries({"prompt": _TEXT, 'o"d,d': _TEXT}), min_size=1, max_size=4))
@pytest.mark.parametrize("suffix", CONTAINERS)
def test_any_text_survives_any_container(tmp_path_factory, suffix, data):
    path = write(tmp_path_factory.mktemp("any") / f"rows{suffix}", data)
    assert values(read(path)) == data


def test_json_may_be_a_list_an_object_with_data_or_lines(tmp_path):
    forms = {
        "list": json.dumps(ROWS, indent=2),
        "data": json.dumps({"version": "1.0", "info": {"data": [1]}, "data": ROWS, "after": 3}),
        "lines": "\n\n".join(json.dumps(row) for row in ROWS),
        "mark": "\ufeff" + json.dumps(ROWS),
    }
    for name, text in forms.items():
        path = tmp_path / f"{name}.json"
        path.write_text(text, encoding="utf-8")
        assert values(read(path)) == ROWS, name
    (tmp_path / "none.json").write_text("[]")
    assert read(tmp_path / "none.json") == []


def test_csv_cells_that_hold_lists_are_read_as_such(tmp_path):
    messages = [{"role": "user", "content": "[1, 2]"}]
    row = {"prompt": json.dumps(messages), "responses": '["a", "b"]', "scores": "[1, 2]", "note": "[3]"}
    assert values(read(write(tmp_path / "rows.csv", [row]))) == [
        {"prompt": messages, "responses": ["a", "b"], "scores": [1, 2], "note": "[3]"}
    ]


def test_nulls_that_arrow_invents_are_gone_and_others_stay(tmp_path):
    data = [
        {"messages": [{"role": "user", "content": "a"}], "chosen": None},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}], "chosen": "x"},
    ]
    first, second = values(read(write(tmp_path / "rows.parquet", data)))
    assert first == data[0]
    assert second["messages"] == [{"role": "assistant", "tool_calls": [{"name": "f"}]}]


def test_a_folder_gives_all_its_data_files_by_name(tmp_path):
    write(tmp_path / "set" / "b.jsonl.gz", ROWS[2:])
    write(tmp_path / "set" / "a.csv", ROWS[:2])
    write(tmp_path / "set" / ".hidden" / "c.jsonl", ROWS)
    (tmp_path / "set" / "README.md").write_text("words")
    items = read(tmp_path / "set")
    assert values(items) == ROWS
    assert str(items[2][1]) == f"{tmp_path}/set/b.jsonl.gz, row 1"


def test_a_folder_of_splits_wants_one_chosen(tmp_path):
    write(tmp_path / "set" / "train-00000-of-00002.parquet", ROWS[:1])
    write(tmp_path / "set" / "train-00001-of-00002.parquet", ROWS[1:2])
    write(tmp_path / "set" / "test" / "part.jsonl", ROWS[2:])
    assert values(read(f"{tmp_path}/set:train")) == ROWS[:2]
    assert values(read(tmp_path / "set", split="test")) == ROWS[2:]
    with pytest.raises(DataError, match=r"has several splits \(test, train\); choose one, as .*/set:test"):
        read(tmp_path / "set")
    with pytest.raises(DataError, match='has no split "trian"; did you mean "train"'):
        read(f"{tmp_path}/set:trian")


def test_a_saved_datasets_folder(tmp_path):
    import datasets

    data = datasets.Dataset.from_list(ROWS)
    data.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": data, "test": data.select([0])}).save_to_disk(str(tmp_path / "two"))
    assert values(read(tmp_path / "one")) == ROWS
    assert values(read(f"{tmp_path}/two:test")) == ROWS[:1]
    with pytest.raises(DataError, match=r"has several splits \(train, test\)"):
        read(tmp_path / "two")
    with pytest.raises(DataError, match='has no splits, so "test" cannot be chosen'):
        read(tmp_path / "one", split="test")
    (tmp_path / "one" / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(DataError, match="is no complete saved data set .* save it again with save_to_disk"):
        read(tmp_path / "one")


@pytest.mark.parametrize(
    ("text", "name", "revision", "config"),
    [
        ("own/set", "own/set", None, None),
        ("own/set@v1.0", "own/set", "v1.0", None),
        ("own/set/english", "own/set", None, "english"),
        ("own/set@refs/pr/3/english", "own/set", "refs/pr/3", "english"),
        ("set@main/english", "set", "main", "english"),
    ],
)
def test_hub_names(text, name, revision, config):
    assert HubName.parse(text) == HubName(name, revision, config)


def test_what_cannot_be_a_hub_name():
    assert HubName.parse("../data/x") is None
    assert HubName.parse("a/b/c/d") is None
    assert HubName.parse("a b") is None


def test_hub_rows_stream_from_what_the_library_loads(tmp_path):
    write(tmp_path / "set" / "train.jsonl")
    items = list(hub_rows(HubName(str(tmp_path / "set"), None, None), "train", "own/set:train"))
    assert values(items) == ROWS
    assert str(items[1][1]) == "own/set:train, row 2"


def test_a_hub_name_without_network_says_what_to_do(monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="own/set is no file or folder here, and as a hub name .* download the data"):
        read("own/set:train")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("rows.jsonll", 'rows.jsonl"'),
        ("nowhere/rows.jsonl", "nor does the folder"),
        ("other.jsonl.gz", "check the path"),
    ],
)
def test_an_absent_file_is_an_error_with_the_nearest_name(tmp_path, path, said):
    write(tmp_path / "rows.jsonl")
    with pytest.raises(DataError, match="does not exist") as caught:
        read(tmp_path / path)
    assert said in str(caught.value)


def test_paths_that_hold_no_data_say_so(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r'ends in ".txt"; save it as one of .jsonl, .* \(each also .gz\)'):
        read(tmp_path / "notes.txt")
    with pytest.raises(DataError, match="holds no data file"):
        read(tmp_path)
    path = write(tmp_path / "rows.jsonl")
    with pytest.raises(DataError, match='is one file, so the split "train" cannot be chosen'):
        read(f"{path}:train")
    with pytest.raises(DataError, match='names two splits, "train" in its path and "test"'):
        read("own/set:train", split="test")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="broken.parquet is no complete Parquet file"):
        read(tmp_path / "broken.parquet")
    (tmp_path / "twice.csv").write_text("a,a\n1,2\n")
    with pytest.raises(DataError, match=r"two columns of the header share a name \(a, a\)"):
        read(tmp_path / "twice.csv")
    (tmp_path / "quote.csv").write_text('"a"b,c\n1,2\n')
    with pytest.raises(DataError, match="the header is malformed CSV"):
        read(tmp_path / "quote.csv")
    (tmp_path / "latin.csv").write_bytes(b"pr\xe9nom,c\n1,2\n")
    with pytest.raises(DataError, match="the header is not UTF-8"):
        read(tmp_path / "latin.csv")


def bad(path):
    return [f"{item.origin.row}: {item.reason}" for item in read(path) if isinstance(item, BadRow)]


def test_bad_lines_are_reported_one_by_one(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 1\n\n[1]\n{"a": "\xff"}\n{"a": 2}\n')
    assert bad(path) == [
        "2: malformed JSON (Expecting ',' delimiter at character 9)",
        "4: holds a list, must be an object with named fields",
        "5: not UTF-8 (byte 0xff at position 8); convert the file to UTF-8",
    ]
    assert values(item for item in read(path) if not isinstance(item, BadRow)) == [{"a": 1}, {"a": 2}]


def test_bad_elements_of_a_list_are_reported_one_by_one(tmp_path):
    path = tmp_path / "rows.json"
    path.write_bytes(b'[{"a": 1}, {"a" 1}, "x", {"a": "\xff"}, {"a": 2}] more')
    found = bad(path)
    assert [line.split(" (")[0] for line in found] == [
        "2: malformed JSON",
        "3: holds text, must be an object with named fields",
        "4: not UTF-8",
        "6: malformed JSON",
    ]
    assert "more text after the end of the list" in found[-1]
    path.write_bytes(b'[{"a": 1}, {"a": ')
    assert bad(path) == ["2: malformed JSON (the list breaks off here)"]


def test_bad_csv_rows_are_reported_one_by_one(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b'a,b\n1,2\n1,2,3\n\n\xff,2\n"x"y,2\n3,4\n"open,2\n')
    assert [line.split(" (")[0] for line in bad(path)] == [
        "2: malformed CSV",
        "3: not UTF-8",
        "4: malformed CSV",
        "6: malformed CSV",
    ]
    assert bad(path)[0].endswith("(3 cells under a header of 2)")
    assert values(item for item in read(path) if not isinstance(item, BadRow))[1] == {"a": "3", "b": "4"}


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".json.gz", ".csv.gz"])
def test_a_truncated_gzip_keeps_the_rows_before_the_break(tmp_path, suffix):
    data = [{"a": str(i * i * 7919), "b": str(i**5)} for i in range(20_000)]
    path = write(tmp_path / f"rows{suffix}", data)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    *before, last = read(path)
    assert isinstance(last, BadRow)
    assert "the gzip stream is broken or truncated here" in last.reason
    assert last.origin.row == len(before) + 1 > 1000
    assert values(before) == data[: len(before)]


def test_what_is_no_gzip_says_so(tmp_path):
    (tmp_path / "rows.jsonl.gz").write_text('{"a": 1}\n')
    (item,) = read(tmp_path / "rows.jsonl.gz")
    assert "Not a gzipped file" in item.reason


def test_a_whole_weight_repeats_each_row(tmp_path):
    path = write(tmp_path / "rows.jsonl")
    assert values(read(path, weight=2)) == [row for row in ROWS for _ in range(2)]


def test_a_fractional_weight_takes_a_fixed_share(tmp_path):
    data = [{"text": str(i)} for i in range(4000)]
    path = write(tmp_path / "rows.jsonl", data)
    half = values(read(path, weight=0.5))
    assert half == values(read(path, weight=0.5))
    assert abs(len(half) - 2000) < 4 * 1000**0.5  # four standard deviations of a fair coin
    more = values(read(path, weight=2.25))
    assert all(more.count(row) in (2, 3) for row in data[:50])
    assert abs(len(more) - 9000) < 4 * 750**0.5
    quarter = {row["text"] for row in values(read(path, weight=0.25))}
    assert quarter < {row["text"] for row in half}  # a larger share holds the smaller one


def test_any_iterable_of_mappings_is_data():
    import datasets

    assert values(rows_of(iter(ROWS))) == ROWS
    data = datasets.Dataset.from_list(ROWS)
    assert values(rows_of(data)) == ROWS
    (item,) = rows_of(["text"], "mine")
    assert str(item.origin) == "mine, row 1" and item.reason == "holds text, must be a mapping with named fields"
    with pytest.raises(DataError, match=r"is a mapping with train, .* choose one split, as data\['train'\]"):
        list(rows_of(datasets.DatasetDict({"train": data})))


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json", ".csv", ".parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path, suffix):
    peaks = []
    for count in (400, 4000):
        path = tmp_path / f"{count}{suffix}"
        write(path, [{"prompt": f"{i}", "chosen": "x" * 2000} for i in range(count)])
        tracemalloc.start()
        assert sum(1 for _ in file_rows(path, "rows")) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 500_000  # the larger file has 7,200,000 characters more


@pytest.mark.parametrize("head", [b"", b"\xef\xbb\xbf\n "])
def test_a_list_under_a_name_for_lines_is_read_as_the_list_it_is(tmp_path, head):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(head + json.dumps(ROWS, indent=1).encode())
    assert values(read(path)) == ROWS


@pytest.mark.parametrize(("mark", "shown"), [(";", '";"'), ("\t", "tabs"), ("|", '"|"')])
def test_a_csv_that_is_parted_by_something_else_says_so(tmp_path, mark, shown):
    path = tmp_path / "rows.csv"
    path.write_text(f"prompt{mark}chosen{mark}rejected\na{mark}b{mark}c\n")
    with pytest.raises(DataError, match=f"parted by {re.escape(shown)} and not by commas; save the file with commas"):
        read(path)
