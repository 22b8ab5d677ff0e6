import json

import pytest

from logratio.cli.app import main

ROWS = [
    {"prompt": "p", "chosen": "aaa", "rejected": "a"},
    {"prompt": "q", "chosen": "b", "rejected": "bbb"},
    {"prompt": "r", "chosen": "c", "rejected": "c"},
]


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    (tmp_path / "my_rewards.py").write_text(
        "def length(prompts, responses, rows):\n    return map(len, responses)\n"
        "def picky(prompts, responses, rows):\n    return [None if p == 'q' else 1.0 for p in prompts]\n"
    )
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "judge.yaml").write_text("function: my_rewards.py:picky\non_failure: skip\n")
    monkeypatch.chdir(tmp_path)


def called(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main(["eval", *words])
    out, err = capsys.readouterr()
    return end.value.code or 0, out, " ".join(err.split())


def test_a_judge_is_measured_and_what_was_left_out_is_told(capsys):
    code, out, _ = called(capsys, "--judge", "my_rewards.py:length", "--data", "pairs.jsonl", "--scores", "s.jsonl")
    assert code == 0
    assert "2 prompts with responses, 1 left out: identical responses" in out and "verdicts: s.jsonl" in out
    assert "accuracy          0.50" in out and "length_baseline   0.50" in out
    code, out, _ = called(capsys, "--judge", "my_rewards.py:length", "--data", "pairs.jsonl", "--json")
    assert json.loads(out)["judges"][0]["accuracy"]["mean"] == 0.5


def test_failures_are_told(capsys):
    code, out, _ = called(capsys, "--judge", "judge.yaml", "--data", "pairs.jsonl")
    assert code == 0 and "no verdict on 1 prompts" in out
    code, _, err = called(capsys, "--judge", "my_rewards.py:picky", "--data", "pairs.jsonl")
    assert code == 2 and "failed on 1 of 2 prompts, at first because it gave the score nan" in err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--data", "pairs.jsonl"], "RUN_OR_MODEL is missing"),
        (["m", "--data", "pairs.jsonl", "--scores", "s"], "--scores is read only with --judge"),
        (["--judge", "my_rewards.py:length", "--data", "pairs.jsonl", "--beta", "1"], "--beta is read only without"),
        (["--judge", "my_rewards.py:length", "--data", "pairs.jsonl", "--seed", "1"], "--seed is read only without"),
        (["--judge", "my_rewards.py:length", "--data", "pairs.jsonl", "--normalise"], "a reward model's scores"),
        (["--judge", "my_rewards.py:longth", "--data", "pairs.jsonl"], "defines no longth"),
        (["--judge", "my_rewards.py:length", "--data", "absent.jsonl"], "absent.jsonl"),
    ],
)
def test_what_does_not_go_together_is_refused(words, why, capsys):
    code, out, err = called(capsys, *words)
    assert code == 2 and why in err and not out
