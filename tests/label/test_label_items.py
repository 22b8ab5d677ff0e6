import json

import numpy as np
import pytest

from logratio.config import DataPart
from logratio.data.prompts import Asking
from logratio.errors import DataError
from logratio.label.items import read_tasks
from logratio.rollout.judge import Comparison, Verdict
from logratio.rollout.sampling import Sample
from logratio.train.drawn import row_of


def tasks(tmp_path, rows, name="data.jsonl", **settings):
    (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_tasks([DataPart(path=str(tmp_path / name))], **settings)


def texts(found):
    return [{response.text for response in task.responses} for task in found]


def test_samples_and_preferences_in_either_order_are_the_same_pair(tmp_path):
    (sampled,) = tasks(tmp_path, [{"prompt": "p", "responses": ["x", "y"], "models": ["m", "n"]}])
    (chosen,) = tasks(tmp_path, [{"prompt": "p", "chosen": "y", "rejected": "x"}])
    (scored,) = tasks(tmp_path, [{"prompt": "p", "responses": ["y", "x"], "scores": [1.0, 1.0]}])
    assert sampled.key == chosen.key == scored.key
    assert [one.text for one in sampled.responses] == [one.text for one in chosen.responses]
    assert {one.text: one.source for one in sampled.responses} == {"x": "m", "y": "n"}
    assert len({sampled.key, *(task.key for task in tasks(tmp_path, [{"prompt": "q", "responses": ["x", "y"]}]))}) == 2


def test_of_many_responses_as_many_pairs_are_drawn_as_asked_for_and_equal_ones_are_none(tmp_path):
    row = {"prompt": "p", "responses": ["a", "b", "c", "a", "b"]}
    assert len(tasks(tmp_path, [row])) == 1
    assert len(tasks(tmp_path, [row], per_prompt=2)) == 2
    assert sorted(map(sorted, texts(tasks(tmp_path, [row, row], per_prompt=9)))) == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert texts(tasks(tmp_path, [{"prompt": "p", "responses": ["", "a", " \n", "b"]}], per_prompt=9)) == [{"a", "b"}]
    drawn = {frozenset(texts(tasks(tmp_path, [row], seed=seed))[0]) for seed in range(20)}
    assert len(drawn) == 3
    other = {**row, "responses": row["responses"][::-1]}
    assert [task.key for task in tasks(tmp_path, [row], seed=5)] == [
        task.key for task in tasks(tmp_path, [other], seed=5)
    ]


def test_rollouts_of_a_run_are_samples_whatever_became_of_them(tmp_path):
    samples = [Sample(np.array([3, 2], np.int32), np.zeros(2, np.float32), True) for _ in range(3)]
    verdicts = (Verdict(scores=(1.0, 1.0, 1.0)), Verdict(failed="no"), Verdict(comparisons=(Comparison(0, 1, 0.5),)))
    rows = [
        row_of(n, [1, 2], Asking(f"p{n}", {}, 1.0), samples, ["x", "y", "x"], verdict)
        for n, verdict in enumerate(verdicts)
    ]
    found = tasks(tmp_path, rows, "phase-000000.jsonl")
    assert [task.prompt for task in found] == ["p0", "p1", "p2"] and texts(found) == [{"x", "y"}] * 3


def test_pairs_of_any_format_are_taken_ties_too_with_their_rows(tmp_path):
    turn = [{"role": "user", "content": "Hi"}]
    both = {
        side: [*turn, {"role": "assistant", "content": said}]
        for side, said in (("conversation_a", "x"), ("conversation_b", "y"))
    }
    (task,) = tasks(tmp_path, [{**both, "winner": "tie"}])
    assert task.prompt == tuple(turn) and str(task.origin).endswith("data.jsonl, row 1")
    assert {response.text[0]["content"] for response in task.responses} == {"x", "y"}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"prompt": "p", "responses": ["x"]}], "holds no two different responses"),
        ([{"prompt": "p", "responses": ["x", "x"]}], "holds no two different responses"),
        ([{"prompt": "p", "completion": "x"}], "row 1: holds fewer than two responses"),
        ([{"prompt": "p", "responses": ["x", 3]}], "row 1: `responses.1` is a number"),
        ([{"prompt": "p", "responses": ["x", "y"], "models": ["m"]}], "2 `responses` with 1 `models`"),
        ([{"prompt": "p", "responses": ["x", "y"]}, {"prompt": "p"}], "row 2: `responses` is missing"),
    ],
)
def test_what_cannot_be_judged_says_which_row_and_why(tmp_path, rows, said):
    with pytest.raises(DataError) as caught:
        tasks(tmp_path, rows)
    assert said in str(caught.value)


def test_the_order_of_the_two_is_a_fair_coin_of_pair_and_person(tmp_path):
    found = tasks(tmp_path, [{"prompt": f"p{n}", "responses": ["x", "y"]} for n in range(400)])
    first = {who: [task.shown(who, 0)[0].text == "x" for task in found] for who in ("ada", "bob")}
    assert first["ada"] == [task.shown("ada", 0)[0].text == "x" for task in found]
    for told in first.values():
        assert 160 < sum(told) < 240  # 4 standard deviations
    assert 160 < sum(a == b for a, b in zip(first["ada"], first["bob"], strict=True)) < 240
    assert first["ada"] != [task.shown("ada", 1)[0].text == "x" for task in found]
