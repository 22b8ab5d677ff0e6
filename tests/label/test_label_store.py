import json
import subprocess
import sys
import threading

import pytest

from logratio.config import DataPart, RowsConfig
from logratio.data.source import read_records
from logratio.errors import DataError, LogratioError
from logratio.label.store import Store


def row(task, annotator="ada", winner="a", prompt="p"):
    return {
        "prompt": prompt,
        "response_a": "x",
        "response_b": "y",
        "winner": winner,
        "annotator": annotator,
        "task": task,
    }


def test_rows_are_on_disk_in_order_and_read_again(tmp_path):
    store = Store(tmp_path / "new" / "labels.jsonl")
    assert store.rows() == [] and store.add(row("1")) and store.add(row("2")) and store.add(row("1", "bob"))
    assert Store(store.path).rows() == [row("1"), row("2"), row("1", "bob")]
    assert store.judged_by("ada") == ["1", "2"] and store.judged_by("bob") == ["1"]
    assert not store.add(row("1", winner="b"))
    assert store.rows()[0]["winner"] == "a"


def test_what_is_taken_back_is_gone_and_everything_else_as_it_was(tmp_path):
    store = Store(tmp_path / "labels.jsonl")
    for task, who in (("1", "ada"), ("1", "bob"), ("2", "ada")):
        store.add(row(task, who))
    lines = store.path.read_bytes().splitlines(keepends=True)
    assert store.take_back("1", "ada") and not store.take_back("1", "ada") and not store.take_back("9", "bob")
    assert store.path.read_bytes() == b"".join(lines[1:])
    assert store.add(row("1", winner="both_bad"))
    assert [(one["task"], one["annotator"]) for one in store.rows()] == [("1", "bob"), ("2", "ada"), ("1", "ada")]


@pytest.mark.parametrize("cut", range(1, 12))
def test_half_a_line_left_by_a_kill_is_cut_off_and_nothing_before_it(tmp_path, cut):
    store = Store(tmp_path / "labels.jsonl")
    store.add(row("1"))
    whole = store.path.read_bytes()
    last = json.dumps(row("2")).encode()
    store.path.write_bytes(whole + last[: len(last) * cut // 12])
    again = Store(store.path)
    assert store.path.read_bytes() == whole and again.add(row("2")) and again.judged_by("ada") == ["1", "2"]


def test_a_last_line_that_only_lacks_its_end_is_kept(tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps(row("1")), encoding="utf-8")
    store = Store(path)
    store.add(row("2"))
    assert store.judged_by("ada") == ["1", "2"]


@pytest.mark.parametrize(
    "content", ['{"prompt": "p", "chosen": "x", "rejected": "y"}\n', "[1]\n", "prompt,winner\n1,2\n"]
)
def test_another_file_is_not_added_to(tmp_path, content):
    path = tmp_path / "pairs.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="row 1: is no judgement .* --output"):
        Store(path)
    assert path.read_text(encoding="utf-8") == content


def test_a_place_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LogratioError, match="cannot be written .* --output"):
        Store(tmp_path / "file" / "labels.jsonl")


FULL = """
import resource, signal, sys
from pathlib import Path
from logratio.errors import LogratioError
from logratio.label.store import Store
store = Store(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (store.path.stat().st_size + 20,) * 2)
row = {"prompt": "q", "response_a": "x", "response_b": "y", "winner": "a", "annotator": "ada", "task": "2"}
try:
    store.add(row)
except LogratioError as error:
    print(error)
"""


def test_a_disk_that_takes_a_part_of_a_judgement_keeps_none_of_it_and_tells(tmp_path):
    store = Store(tmp_path / "labels.jsonl")
    store.add(row("1"))
    before = store.path.read_bytes()
    done = subprocess.run([sys.executable, "-c", FULL, str(store.path)], capture_output=True, text=True, check=True)
    assert "could not take the judgement" in done.stdout and "those before it are safe" in done.stdout
    assert store.path.read_bytes() == before


def test_many_at_once_through_several_handles_lose_nothing_and_double_nothing(tmp_path):
    path = tmp_path / "labels.jsonl"
    added = []

    def work(who):
        own = Store(path)
        for n in range(15):
            added.append(own.add(row(str(n), who)))
            if n % 5 == 4:
                own.take_back(str(n), who)
                added.append(own.add(row(str(n), who, "tie")))

    threads = [threading.Thread(target=work, args=(who,)) for who in ("ada", "ada", "bob", "cleo")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = Store(path).rows()
    assert sorted((one["annotator"], int(one["task"])) for one in rows) == [
        (who, n) for who in ("ada", "bob", "cleo") for n in range(15)
    ]


def test_half_characters_and_line_ends_inside_texts_stay_one_line_of_json(tmp_path):
    store = Store(tmp_path / "labels.jsonl")
    odd = row("1", prompt="a\nb\r\u2028c\ud83d")
    store.add(odd)
    store.add(row("2", prompt="é\u2028"))
    assert Store(store.path).rows()[0] == odd and store.path.read_bytes().count(b"\n") == 2


def test_training_reads_the_file_as_it_stands(tmp_path):
    store = Store(tmp_path / "labels.jsonl")
    for task, winner in (("1", "b"), ("2", "both_bad"), ("3", "tie"), ("4", "a")):
        store.add(row(task, winner=winner, prompt=f"p{task}"))
    store.take_back("4", "ada")
    found = list(read_records((DataPart(path=str(store.path)),), RowsConfig(), ties=True))
    assert [(one.chosen, one.tie, one.first, one.carried.annotator) for one in found] == [
        ("y", None, "rejected", "ada"),
        ("x", "both_bad", "chosen", "ada"),
        ("x", "tie", "chosen", "ada"),
    ]
