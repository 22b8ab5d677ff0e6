import json

import pytest
from planted import SCRIPTS, Writer

from logratio.audit.repair import repair
from logratio.audit.rows import read_rows
from logratio.audit.run import audit
from logratio.audit.similar import alike
from logratio.errors import DataError


def written(path, data):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in data), encoding="utf-8")
    return path


def fixed(tmp_path, data, held=None):
    """Return (rows of the cleaned file, lines of the log, what the repair says of itself)."""
    source = written(tmp_path / "in.jsonl", data)
    rows = read_rows(source)
    other = None if held is None else read_rows(written(tmp_path / "held.jsonl", held))
    out = tmp_path / "out.jsonl"
    done = repair(source, out, rows, alike(rows.texts), other, other and alike(other.texts))
    lines = [[json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in (out, done.log)]
    return *lines, done


def test_rows_pass_as_they_stood_with_every_column(tmp_path):
    rows = [
        {"prompt": "p", "chosen": "c", "rejected": "r", "meta": {"x": [1, None, "é"]}, "weight": 0.5},
        {"rejected": "中文", "chosen": "عربي", "prompt": "👍", "other": True},
    ]
    kept, log, done = fixed(tmp_path, rows)
    assert kept == rows and log == [] and done.kept == 2
    assert [list(row) for row in kept] == [list(row) for row in rows]


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_fault_is_dropped_or_mended_with_its_reason(tmp_path, script):
    writer = Writer(1, script)
    clean = [writer.pair(words=60) for _ in range(20)]
    one, other, broken = clean[0], clean[1], dict(clean[2])
    broken["chosen"] += "\x00"
    turned = {"prompt": clean[3]["prompt"], "chosen": clean[3]["rejected"], "rejected": clean[3]["chosen"]}
    held = [writer.pair(words=60) for _ in range(5)]
    data = [
        *clean[:2],
        broken,
        *clean[3:],
        dict(one),
        {name: writer.edited(text) for name, text in other.items()},
        turned,
        one | {"chosen": ""},
        writer.pair(words=60) | {"prompt": writer.edited(held[0]["prompt"])},
    ]
    kept, log, done = fixed(tmp_path, data, held)
    assert kept == [*clean[:3], *clean[4:]]
    assert [(entry["row"], entry["action"], entry["why"]) for entry in log] == [
        (3, "changed", "control characters and byte order marks taken out"),
        (4, "dropped", "contradicted"),
        (21, "dropped", "repeats a row"),
        (22, "dropped", "nearly repeats a row"),
        (23, "dropped", "contradicted"),
        (24, "dropped", "cannot be used"),
        (25, "dropped", "prompt stands in the evaluation data"),
    ]
    assert (
        log[0]["fields"] == ["chosen"] and log[2]["because"].endswith("row 1") and log[5]["because"] == "empty response"
    )
    assert done.dropped["contradicted"] == 2 and done.kept == 19


def test_a_repaired_set_has_nothing_left_to_repair(tmp_path):
    writer = Writer(2)
    data = [writer.pair() for _ in range(60)]
    data += [dict(row) for row in data[:10]]
    data += [{name: writer.edited(text) for name, text in row.items()} for row in data[10:20]]
    data += [{"prompt": r["prompt"], "chosen": r["rejected"], "rejected": r["chosen"]} for r in data[20:30]]
    fixed(tmp_path, data)
    levels = {found.name: found.level for found in audit(tmp_path / "out.jsonl").findings}
    for name in ("rows", "encoding", "exact_duplicates", "contradictions", "empty_responses"):
        assert levels[name] == "fine", name
    rows = read_rows(tmp_path / "out.jsonl")
    again = repair(tmp_path / "out.jsonl", tmp_path / "again.jsonl", rows, alike(rows.texts))
    assert again.kept == rows.count and not again.dropped and not again.changed


def test_a_row_with_several_judgements_is_not_lost_to_one_contradiction(tmp_path):
    ranking = {"prompt": "p", "responses": ["a", "b", "c"], "scores": [3, 2, 1]}
    kept, _, _ = fixed(tmp_path, [ranking, ranking | {"scores": [3, 1, 2]}])
    assert len(kept) == 2


def test_files_of_several_formats_and_rows_in_memory_are_refused(tmp_path):
    one = written(tmp_path / "a.jsonl", [{"prompt": "p", "chosen": "c", "rejected": "r"}])
    other = written(tmp_path / "b.jsonl", [{"prompt": "p", "completion": "c", "label": True}])
    rows = read_rows([one, other])
    with pytest.raises(DataError, match="2 formats"):
        repair([one, other], tmp_path / "out.jsonl", rows, alike(rows.texts))
    data = [{"prompt": "p", "chosen": "c", "rejected": "r"}]
    rows = read_rows(data)
    with pytest.raises(DataError, match="the rows are in memory"):
        repair(data, tmp_path / "out.jsonl", rows, alike(rows.texts))
    with pytest.raises(DataError, match="end the name in .jsonl"):
        repair(one, tmp_path / "out.csv", read_rows(one), alike(["p"]))


def test_a_repaired_csv_keeps_its_columns(tmp_path):
    (tmp_path / "a.csv").write_text("prompt,chosen,rejected,id\np,c,r,7\np,c,r,8\n")
    rows = read_rows(tmp_path / "a.csv")
    repair(tmp_path / "a.csv", tmp_path / "out.jsonl", rows, alike(rows.texts))
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {
        "prompt": "p",
        "chosen": "c",
        "rejected": "r",
        "id": "7",
    }
