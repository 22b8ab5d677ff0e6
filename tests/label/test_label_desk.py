import json

import pytest
from label_desk import desk, judged

from logratio.label.desk import LONGEST_TEXT, Desk, Refused, turns
from logratio.label.items import read_tasks
from logratio.label.store import Store


class Clock:
    now = 1_000_000_000.0

    def __call__(self):
        self.now += 2.5
        return self.now


def show(own, who="ada"):
    return own.answer({"action": "show", "annotator": who})


def judge(own, verdict, who="ada"):
    return own.answer({"action": "judge", "annotator": who, "task": show(own, who)["task"], "verdict": verdict})


def test_each_verdict_is_a_row_with_what_stood_first_as_a(tmp_path):
    own = desk(tmp_path, 4, clock=Clock())
    for verdict in ("a", "b", "tie", "both_bad"):
        seen = show(own)
        after = judge(own, verdict)
        row = judged(tmp_path)[-1]
        assert row["winner"] == verdict and row["annotator"] == "ada" and row["task"] == seen["task"]
        assert [row["response_a"], row["response_b"]] == [seen["a"][0]["text"], seen["b"][0]["text"]]
        assert row["prompt"] == seen["prompt"][0]["text"] and row["seconds"] == 2.5
        assert row["row"].endswith(f"samples.jsonl, row {after['judged']}")
        assert row["judged"].startswith("2001-09-09T01:4") and row["judged"].endswith("+00:00")
    assert after["task"] is None and after["judged"] == 4 and "4 judgements" in after["status"]["lines"][0]


def test_nothing_that_the_page_gets_tells_where_a_response_is_from(tmp_path):
    rows = [{"prompt": "p", "responses": ["x", "y"], "models": ["secret-model", "other"]}]
    (tmp_path / "s.jsonl").write_text(json.dumps(rows[0]) + "\n")
    from logratio.config import DataPart

    own = Desk(read_tasks([DataPart(path=str(tmp_path / "s.jsonl"))]), Store(tmp_path / "labels.jsonl"))
    told = json.dumps(show(own))
    assert "secret" not in told and "other" not in told
    judge(own, "a")
    (row,) = judged(tmp_path)
    assert {row["response_a"]: row["model_a"], row["response_b"]: row["model_b"]} == {"x": "secret-model", "y": "other"}


def test_undo_takes_the_judgement_out_of_the_file_and_shows_the_pair_again_in_the_same_order(tmp_path):
    own = desk(tmp_path)
    first = show(own)
    judge(own, "a")
    judge(own, "b")
    back = own.answer({"action": "undo", "annotator": "ada"})
    assert back["judged"] == 1 and len(judged(tmp_path)) == 1
    back = own.answer({"action": "undo", "annotator": "ada"})
    assert {name: back[name] for name in ("task", "a", "b")} == {name: first[name] for name in ("task", "a", "b")}
    assert judged(tmp_path) == [] and not back["undo"]
    assert own.answer({"action": "undo", "annotator": "ada"}) == back


def test_undo_after_a_skip_and_of_judgements_made_before_a_restart(tmp_path):
    own = desk(tmp_path)
    judge(own, "tie")
    second = show(own)["task"]
    own.answer({"action": "skip", "annotator": "ada", "task": second})
    assert own.answer({"action": "undo", "annotator": "ada"})["task"] == second
    again = desk(tmp_path)
    assert show(again)["task"] == second and show(again)["judged"] == 1
    again.answer({"action": "undo", "annotator": "ada"})
    assert judged(tmp_path) == []


def test_skipped_pairs_are_left_until_they_are_asked_for(tmp_path):
    own = desk(tmp_path, 2)
    skipped = show(own)["task"]
    own.answer({"action": "skip", "annotator": "ada", "task": skipped})
    end = judge(own, "a")
    assert end["task"] is None and end["skipped"] == 1 and len(judged(tmp_path)) == 1
    assert own.answer({"action": "again", "annotator": "ada"})["task"] == skipped


def test_two_people_judge_all_pairs_each_in_an_order_of_their_own(tmp_path):
    own = desk(tmp_path, 30)
    for _ in range(30):
        judge(own, "a", "ada")
        judge(own, "a", "bob")
    rows = judged(tmp_path)
    by = {who: {row["task"]: row["response_a"] for row in rows if row["annotator"] == who} for who in ("ada", "bob")}
    assert len(by["ada"]) == len(by["bob"]) == 30
    assert 5 < sum(by["ada"][task] == by["bob"][task] for task in by["ada"]) < 25
    assert "Krippendorff" in show(own)["status"]["lines"][-1]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"action": "judge", "task": "0" * 32, "verdict": "a"}, 409),
        ({"action": "skip", "task": None}, 409),
        ({"action": "judge", "verdict": "c"}, 400),
        ({"action": "erase"}, 400),
        ({"action": "show", "annotator": " "}, 400),
        ({"action": "show", "annotator": "x" * 81}, 400),
        ({"action": "show", "annotator": "ad\u200ba"}, 400),
        ({"action": "show", "annotator": 7}, 400),
        ({"action": ["show"]}, 400),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(tmp_path, asked, status):
    own = desk(tmp_path)
    task = show(own)["task"]
    with pytest.raises(Refused) as caught:
        own.answer({"annotator": "ada", "task": task, **asked})
    assert caught.value.status == status and judged(tmp_path) == [] and show(own)["task"] == task


def test_only_the_named_may_judge(tmp_path):
    own = desk(tmp_path, people=("ada", "bob"))
    assert show(own, " ada ")["annotator"] == "ada"
    with pytest.raises(Refused, match="Only ada, bob"):
        show(own, "eve")


def test_texts_are_shown_without_thoughts_and_with_every_character_visible():
    shown = turns("x\u202ey\x1b[0m", "prompt")
    assert shown == [{"role": "prompt", "text": "x⟨U+202E⟩y⟨U+001B⟩[0m"}]
    (long,) = turns("y" * (LONGEST_TEXT + 5), "prompt")
    assert long["text"].endswith("… [5 more characters]")
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}], "thinking": "secret"}
    (called,) = turns((call,), "assistant")
    assert '"name": "f"' in called["text"] and "secret" not in called["text"]


def test_a_response_is_judged_by_its_answer_and_kept_whole(tmp_path):
    from logratio.config import DataPart

    row = {"prompt": "p", "responses": ["<think>hm</think> yes", "<think>ah</think> no"]}
    (tmp_path / "s.jsonl").write_text(json.dumps(row) + "\n")
    own = Desk(read_tasks([DataPart(path=str(tmp_path / "s.jsonl"))]), Store(tmp_path / "labels.jsonl"))
    seen = show(own)
    assert {seen["a"][0]["text"], seen["b"][0]["text"]} == {"yes", "no"}
    judge(own, "a")
    (kept,) = judged(tmp_path)
    assert {kept["response_a"], kept["response_b"]} == set(row["responses"])
