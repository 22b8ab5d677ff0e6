"""The benchmark of preparation: both sides encode the same texts, and a size gives a line."""

import json

import pytest

from bench import prepare


def line(pairs, seconds, bulk, memory):
    run = {"pairs": pairs, "round": 0, "base_memory": 100e6, "peak_memory": memory, "groups": pairs, "usable": pairs}
    return [
        {**run, "kind": "prepare", "seconds": [seconds, seconds]},
        {**run, "kind": "bulk", "seconds": [bulk, bulk]},
        {**run, "kind": "open", "seconds": [0.5, 0.5]},
    ]


def test_share_memory_and_first_step_are_told_by_hand():
    results = {"clock": "wall", "runs": [*line(10_000, 4.0, 3.0, 150e6), *line(40_000, 15.0, 12.0, 190e6)]}
    assert prepare.targets(results) == [
        "share of the library's rate at 40,000 pairs: 80% (target 80%)",
        "memory at 40,000 pairs over 10,000: +40 MB (target 200)",
        "first step at 40,000 pairs: 0.50 s (target 5 s)",
    ]


def test_rows_are_real_and_distinct(tmp_path, shared_data):
    prepare.write_pairs(tmp_path / "pairs.jsonl", 5000)
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 5000 and len({row["chosen"] for row in rows}) == 5000
    assert rows[0]["chosen"].startswith("\n\nHuman: 0.")


@pytest.mark.slow
def test_a_real_run_prepares_all_rows_that_the_library_encodes(tmp_path, shared_data, capsys):
    assert prepare.main(["--pairs", "300", "--repeats", "1", "--out", str(tmp_path)]) == 0
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    prepared, bulk = (next(run for run in runs if run["kind"] == kind) for kind in ("prepare", "bulk"))
    assert 0 < prepared["groups"] <= bulk["usable"] <= 300
    assert "share of the library's rate at 300 pairs" in capsys.readouterr().out
    assert "Cost of a pair" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "tokenizer library alone" in (tmp_path / "cost.svg").read_text(encoding="utf-8")
