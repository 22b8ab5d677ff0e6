import json
import signal
import subprocess
import sys
from collections import Counter

import pytest

from logratio.errors import ConfigError, DataError, JudgeError, RunError
from logratio.evaluate.answered import read_answered
from logratio.evaluate.judged import BATCH, accuracy_measures, evaluate_judges, judge_responses
from logratio.maths.intervals import share_interval
from logratio.rollout.judge import Comparison, Verdict
from logratio.rollout.judges import judge_named
from logratio.rollout.judges.function import FunctionJudge

ROWS = [
    {"prompt": "p", "chosen": "aaa", "rejected": "a", "answer": "a"},
    {"prompt": "p", "chosen": "<think>much thought</think>b", "rejected": "bbb"},
    {"prompt": "q", "chosen": "ccc", "rejected": "ddd"},
    {"prompt": "r", "responses": ["x", "xx", "xxx"], "scores": [1, 3, 3]},
    {"prompt": "r", "responses": ["x", "xxxx"], "ranks": [1, 2]},
    {"prompt": "s", "responses": ["y", "yy"]},
    {"prompt": "t", "completion": "zz", "label": True},
    {
        "prompt": [{"role": "user", "content": "u"}],
        "chosen": [{"role": "assistant", "content": "<think>a</think>v"}],
        "rejected": [{"role": "assistant", "content": "<think>aaaaa</think>w"}],
    },
]


def length(prompts, responses, rows):
    return [float(len(response)) for response in responses]


def test_responses_are_read_with_what_the_data_prefers():
    read = list(read_answered(ROWS, Counter()))
    assert [one.asked.responses for one in read[:4]] == [("aaa", "a"), ("b", "bbb"), ("ccc", "ddd"), ("x", "xx", "xxx")]
    assert [one.preferred for one in read] == [
        ((0, 1),),
        ((0, 1),),
        ((0, 1),),
        ((1, 0), (2, 0)),
        ((0, 1),),
        (),
        (),
        ((0, 1),),
    ]
    assert read[0].asked.row == {"answer": "a"} and read[5].asked.responses == ("y", "yy")
    assert read[6].asked.responses == ("zz",) and read[7].asked.responses == ("v", "w")
    assert str(read[3].origin).endswith("row 4")


def test_rows_with_nothing_to_compare_are_counted():
    left_out = Counter()
    assert len(list(read_answered([*ROWS, {"prompt": "p", "chosen": "a", "rejected": "a"}], left_out))) == len(ROWS)
    assert left_out == {"identical responses": 1}
    with pytest.raises(DataError, match="2 `responses` with 1 `scores`"):
        list(read_answered([{"prompt": "p", "responses": ["a", "b"], "scores": [1]}], left_out))


def test_accuracy_is_counted_by_hand():
    judged = judge_responses(FunctionJudge(length, "length"), read_answered(ROWS, Counter()))
    found = accuracy_measures(judged)
    right = [1, 0, 0.5, 1, 1, 0, 0.5]  # a b c, x against each better one, ranks, v against w
    expected = share_interval(right, ["p", "p", "q", "r", "r", "r", "u"])
    assert found["accuracy"] == found["length_baseline"] == expected and found["length_rule"] == "longer wins"
    assert found["ties"].mean == pytest.approx(2 / 7) and found["prompts"] == 8 and found["failed"] == 0


def test_where_shorter_ones_win_the_baseline_prefers_these():
    rows = [{"prompt": str(i), "chosen": "a", "rejected": "bb"} for i in range(3)] + [ROWS[0]]
    found = accuracy_measures(judge_responses(FunctionJudge(length, "length"), read_answered(rows, Counter())))
    assert found["length_rule"] == "shorter wins"
    assert found["accuracy"].mean == 0.25 and found["length_baseline"].mean == 0.75


def test_failures_are_counted_and_judge_nothing():
    def picky(prompts, responses, rows):
        nan = float("nan")
        return [nan if prompt == "p" else float(len(text)) for prompt, text in zip(prompts, responses, strict=True)]

    rows = read_answered(ROWS, Counter())
    found = accuracy_measures(judge_responses(FunctionJudge(picky, "picky", on_failure="skip"), rows))
    assert found["failed"] == 2 and found["accuracy"].n == found["length_baseline"].n == 5


class Compares:
    """Prefers the shorter one of every two."""

    description = "a judge that compares"

    def __call__(self, asked):
        return [
            Verdict(comparisons=(Comparison(1, 0, 0.9 if len(one.responses[1]) < len(one.responses[0]) else 0.2),))
            if len(one.responses) > 1
            else Verdict()
            for one in asked
        ]


def test_a_response_with_none_to_compare_it_with_gets_no_score_to_train_on(tmp_path):
    rows, file = [row for row in ROWS if row["prompt"] in ("q", "t")], tmp_path / "scores.jsonl"
    pair, alone = judge_responses(Compares(), read_answered(rows, Counter()), file)
    assert pair.right() and "neither scored nor compared" in alone.verdict.failed and not alone.right()
    assert [json.loads(line)["prompt"] for line in file.read_text().splitlines()] == ["q"]


def test_two_judges_are_compared_on_the_same_preferences(tmp_path):
    rows = [ROWS[0], ROWS[1], ROWS[4]]
    found = evaluate_judges([FunctionJudge(length, "length"), Compares()], rows, tmp_path / "s.jsonl")
    first, second = found["judges"]
    assert first["accuracy"]["mean"] == pytest.approx(1 / 3) and second["accuracy"]["mean"] == pytest.approx(2 / 3)
    assert found["difference"]["mean"] == pytest.approx(-1 / 3) and found["difference"]["n"] == 3
    kept = [json.loads(line) for line in (tmp_path / "s.beside.jsonl").read_text().splitlines()]
    assert kept[0]["comparisons"] == [[1, 0, 0.9]] and kept[0]["scores"] == pytest.approx([0.1, 0.9])


def test_verdicts_are_kept_and_not_asked_for_again(tmp_path):
    asked = []

    def counting(prompts, responses, rows):
        asked.extend(responses)
        return length(prompts, responses, rows)

    file = tmp_path / "scores.jsonl"
    first = judge_responses(FunctionJudge(counting, "f"), read_answered(ROWS, Counter()), file)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:3]) + lines[3][:20])  # killed while it wrote the fourth
    asked.clear()
    again = judge_responses(FunctionJudge(counting, "f"), read_answered(ROWS, Counter()), file)
    assert [one.verdict.scores for one in again] == [one.verdict.scores for one in first]
    assert asked[:3] == ["x", "xx", "xxx"] and len(asked) == sum(len(one.answered.asked.responses) for one in again[3:])
    assert file.read_text().splitlines() == [line.rstrip("\n") for line in lines]
    with pytest.raises(RunError, match="verdicts of another judge"):
        judge_responses(Compares(), read_answered(ROWS, Counter()), file)
    trained = [one.asked.responses for one in read_answered([json.loads(line) for line in lines], Counter())]
    assert trained == [one.answered.asked.responses for one in first]  # the file is data itself


def test_what_failed_is_asked_for_again(tmp_path):
    down = {"p", "r"}

    def flaky(prompts, responses, rows):
        return [None if str(prompt) in down else 1.0 for prompt in prompts]

    judge, file = FunctionJudge(flaky, "flaky", on_failure="skip"), tmp_path / "scores.jsonl"
    assert sum(bool(one.verdict.failed) for one in judge_responses(judge, read_answered(ROWS, Counter()), file)) == 4
    down.clear()
    assert not any(one.verdict.failed for one in judge_responses(judge, read_answered(ROWS, Counter()), file))
    assert len(file.read_text().splitlines()) == len(ROWS)


def test_a_kill_at_any_moment_loses_no_batch_that_was_judged(tmp_path):
    program = tmp_path / "kill.py"
    program.write_text(
        "import os, signal, sys\n"
        "from collections import Counter\nfrom pathlib import Path\n"
        "from logratio.evaluate.answered import read_answered\nfrom logratio.evaluate.judged import judge_responses\n"
        "from logratio.rollout.judges.function import FunctionJudge\n"
        "calls = []\n"
        "def score(prompts, responses, rows):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return [float(len(text)) for text in responses]\n"
        f"rows = [{{'prompt': str(i), 'chosen': 'a' * i, 'rejected': 'b'}} for i in range(2, 2 + {3 * BATCH})]\n"
        "judge_responses(FunctionJudge(score, 'score'), read_answered(rows, Counter()), Path(sys.argv[1]))\n"
        "print(len(calls))\n"
    )
    file = tmp_path / "scores.jsonl"
    first = subprocess.run([sys.executable, program, file], capture_output=True, text=True)
    assert first.returncode == -signal.SIGKILL
    assert len(file.read_text().splitlines()) == 2 * BATCH
    second = subprocess.run([sys.executable, program, file], capture_output=True, text=True)
    assert second.stdout == "1\n" and len(file.read_text().splitlines()) == 3 * BATCH, second.stderr


def test_a_judge_that_stops_leaves_what_it_judged(tmp_path):
    rows = [{"prompt": str(i), "chosen": "aa", "rejected": "b"} for i in range(BATCH + 1)]

    def tired(prompts, responses, rows):
        if str(BATCH) in prompts:
            raise OSError("tired")
        return length(prompts, responses, rows)

    with pytest.raises(JudgeError, match="tired"):
        judge_responses(FunctionJudge(tired, "t"), read_answered(rows, Counter()), tmp_path / "s.jsonl")
    assert len((tmp_path / "s.jsonl").read_text().splitlines()) == BATCH


def test_a_judge_has_a_name_or_a_file_on_the_command_line(tmp_path):
    file = tmp_path / "judge.yaml"
    file.write_text("url: http://127.0.0.1:8000/v1\nmodel: m\nform: score\n")
    assert judge_named(str(file)).form == "score" and judge_named("rewards:score").function == "rewards:score"
    assert judge_named("models/reward").reward_model == "models/reward"
    file.write_text("url: http://127.0.0.1:8000/v1\nmodle: m\n")
    with pytest.raises(ConfigError, match="modle"):
        judge_named(str(file))
    with pytest.raises(ConfigError, match="cannot be read"):
        judge_named(str(tmp_path / "absent.yaml"))
