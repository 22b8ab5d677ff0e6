import json
import re
import sys
import time

import pytest
from planted import Writer

from logratio.audit.brief import brief
from logratio.audit.rows import read_rows
from logratio.audit.run import audit
from logratio.cli.app import main
from logratio.findings import LEVELS, finding

REAL = {
    "hh-harmless/train.jsonl.gz": {},
    "hh-harmless/test.jsonl.gz": {},
    "convarg/pairs.jsonl.gz": {},
    "pandalm/pairs.jsonl.gz": {},
    "tldr-judged/policy_vs_reference.jsonl.gz": {},
    "demo-formats/dpo_en_demo.jsonl.gz": {},
    "demo-formats/kto_en_demo.jsonl.gz": {},
    "demo-formats/alpaca_en_demo_sft.jsonl.gz": {},
    "imdb/train.jsonl.gz": {},
    "tinystories/stories.jsonl.gz": {},
}
LARGE = ("convarg", "imdb", "tinystories")


def file_of(tmp_path, data, name="pairs.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in data), encoding="utf-8")
    return path


def command(capsys, *words):
    with pytest.raises(SystemExit) as caught:
        main(["audit", *map(str, words)])
    told = capsys.readouterr()
    return caught.value.code, told.out, told.err


def test_rows_and_names_of_files_cannot_speak_to_the_terminal(tmp_path, capsys):
    hostile = "\x1b]0;title\x07\x9b31m\u202e"
    writer = Writer(1)
    data = [{**row, "annotator": f"{hostile}{i % 3}"} for i, row in enumerate(writer.pair() for _ in range(30))]
    data += [{**row, "prompt": f"{hostile} {row['prompt']}"} for row in data[:9]] * 3
    own = file_of(tmp_path, data, f"pairs{hostile}.jsonl")
    out, clean = tmp_path / f"out{hostile}", tmp_path / f"clean{hostile}.jsonl"
    code, told, said = command(capsys, own, "--output", out, "--fix", clean)
    assert code == 0 and told.count("⟨U+001B⟩]0;title⟨U+0007⟩⟨U+009B⟩31m⟨U+202E⟩") >= 4
    assert not [mark for mark in told + said if (ord(mark) < 32 and mark != "\n") or mark in "\x9b\u202e"]


def test_the_command_prints_verdicts_and_writes_the_document_and_its_page(tmp_path, capsys):
    writer = Writer(1)
    data = [writer.pair() for _ in range(80)]
    held = [writer.pair() for _ in range(18)] + data[:2]
    train, test = file_of(tmp_path, data + data[:5]), file_of(tmp_path, held, "held.jsonl")
    out, clean = tmp_path / "out", tmp_path / "clean.jsonl"
    code, told, _ = command(capsys, train, "--eval-data", test, "--output", out, "--fix", clean)
    assert code == 0
    lines, flat = told.splitlines(), " ".join(told.split())
    assert lines[0].endswith("pairs with their prompt (prompt/chosen/rejected)") and lines[1].startswith("85 rows, ")
    assert next(line for line in lines if line.startswith("stop")).split()[1] == "leakage"
    assert "→ A repeated row weighs" in flat and str(out / "audit.html") in told
    assert "left out: 3 rows (repeats a row)" in told and "left out: 4 rows (prompt stands in" in told
    assert clean.read_text().count("\n") == 78
    document = json.loads((out / "audit.json").read_text())
    assert {"data", "date", "version", "rows", "findings"} <= document.keys() and document["rows"] == 85
    findings = [finding(entry) for entry in document["findings"]]
    assert all(found.level in LEVELS and found.seconds is not None and found.says for found in findings)
    assert len({found.name for found in findings}) == len(findings) >= 11
    assert "<html" in (out / "audit.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no data is named"),
        (["nowhere.jsonl"], "nowhere.jsonl does not exist"),
        (["a.jsonl", "--map", "chosen"], 'has no "="'),
        (["a.jsonl", "--fix", __file__], "exists, and what is there stays"),
        (["a.jsonl", "--fix", "out.csv"], "end the name in .jsonl"),
    ],
)
def test_a_persons_mistake_is_one_message(words, said, capsys):
    code, out, err = command(capsys, *words)
    assert (code, out) == (2, "") and said in " ".join(err.split())


def test_map_names_other_columns(tmp_path, capsys):
    data = [{"question": f"q{at}", "j": f"a{at}", "k": f"b{at}"} for at in range(3)]
    file = file_of(tmp_path, data)
    code, told, _ = command(capsys, file, "--map", "chosen=j", "--map", "rejected=k", "--output", tmp_path / "out")
    assert code == 0 and "3 rows, " in told


def test_the_same_data_gives_the_same_findings(tmp_path):
    writer = Writer(2)
    data = [writer.pair() for _ in range(60)]
    one, other = ([found.as_json() | {"seconds": 0} for found in audit(data).findings] for _ in range(2))
    assert one == other


def test_without_the_extra_all_else_is_found_and_what_is_missing_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "rensa", None)
    monkeypatch.setitem(sys.modules, "ftfy", None)
    writer = Writer(5)
    data = [writer.pair() for _ in range(30)]
    data[0]["chosen"] = data[0]["rejected"].upper()
    found = {found.name: found for found in audit(data + data[1:2], eval_data=data[:1]).findings}
    near = found["near_duplicates"]
    assert near.level == "note" and "pip install 'logratio[audit]'" in near.says
    assert found["exact_duplicates"].figures["repeated_rows"] == 1
    assert found["identical_pairs"].figures["same_but_for_case_or_space"] == 1
    assert found["leakage"].level == "stop"


@pytest.mark.slow
def test_a_model_says_what_it_makes_of_the_responses(shared_data, tmp_path, capsys):
    model, file = shared_data / "models" / "reviews-7m", shared_data / "hh-harmless" / "test.jsonl.gz"
    code, told, _ = command(capsys, file, "--model", model, "--output", tmp_path / "out")
    names = [found["name"] for found in json.loads((tmp_path / "out" / "audit.json").read_text())["findings"]]
    assert code == 0 and names[-2:] == ["tokens", "coverage"] and " tokens " in told


def test_brief_looks_at_the_first_rows_and_says_so(tmp_path):
    writer = Writer(3)
    data = [writer.pair() for _ in range(50)]
    whole = brief(data + data[:1], eval_data=data[:3])
    assert {found.name for found in whole} >= {"exact_duplicates", "contradictions", "leakage", "length", "rows"}
    assert all(found.seconds is not None for found in whole)
    assert next(found for found in whole if found.name == "exact_duplicates").figures["repeated_rows"] == 1
    part = brief(file_of(tmp_path, data), most=20)
    assert all(found.says.startswith("Among the first 20 rows: ") for found in part)


def test_brief_takes_seconds_on_many_rows(tmp_path):
    writer = Writer(4)
    words = [writer.text(60) for _ in range(400)]
    data = [
        {
            "prompt": words[at % 400] + str(at),
            "chosen": words[at % 397] + str(at),
            "rejected": words[at % 389] + str(at),
        }
        for at in range(5_000)
    ]
    file = file_of(tmp_path, data)
    begin = time.process_time()
    brief(file)
    assert time.process_time() - begin < 4


@pytest.mark.parametrize("name", [name for name in REAL if not name.startswith(LARGE)])
def test_real_sets_run(name, shared_data):
    _real(name, shared_data)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in REAL if name.startswith(LARGE)])
def test_large_real_sets_run(name, shared_data):
    _real(name, shared_data)


def _real(name, shared_data):
    own = audit(shared_data / name)
    assert own.rows.count > 200
    for found in own.findings:
        assert finding(json.loads(json.dumps(found.as_json()))).name == found.name
        assert len(found.says) > 20 and "\n" not in found.says
        if found.level in ("look", "stop"):
            assert found.remedy, found.name


def test_brief_says_that_one_of_several_parts_was_cut(tmp_path):
    writer = Writer(6)
    data = [writer.pair() for _ in range(505)]
    small, large = file_of(tmp_path, data[:5], "a.jsonl"), file_of(tmp_path, data[5:], "b.jsonl")
    assert all(found.says.startswith("Among the first 55 rows: ") for found in brief([small, large], most=100))
    assert not any(found.says.startswith("Among") for found in brief([small, large], most=1_000))
    held = brief(small, eval_data=[small, large], most=100)
    assert held[-1].says.startswith("Of the evaluation data's first 55 rows alone")
    exact = brief(small, most=5)  # as many as asked for, and nothing left out
    assert exact[0].says == "All 5 rows can be read."


def test_a_row_beyond_the_cut_is_not_counted(tmp_path):
    writer = Writer(7)
    data = [writer.pair() for _ in range(4)]
    data.insert(2, {"prompt": "p", "chosen": "", "rejected": "r"})
    rows = read_rows(file_of(tmp_path, data), most=2)
    assert rows.partial and rows.count == rows.report.kept == 2 and not rows.problems
    last = read_rows(file_of(tmp_path, data[:3]), most=2)
    assert not last.partial and last.report.kept == 2 and len(last.problems) == 1


def test_one_is_not_plural():
    said = " ".join(found.says for found in audit([{"prompt": "p", "chosen": "a", "rejected": "b"}]).findings)
    assert "1 row on 1 prompt;" in said and "1 pair has a winner" in said
    for wrong in ("1 rows", "1 prompts", "1 pairs", "1 equally frequent prompts"):
        assert not re.search(rf"\b{wrong}\b", said)
