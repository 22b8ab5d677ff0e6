import gzip
import json

import numpy as np
import pytest

from logratio.audit.rows import read_rows, rendered
from logratio.errors import DataError

PAIR = {"prompt": "p", "chosen": "c", "rejected": "r"}


def edges(rows):
    """Return every judged pair as texts."""
    texts = rows.texts
    columns = (rows.prompt_E, rows.winner_E, rows.loser_E)
    return [tuple(texts[text] for text in edge) for edge in zip(*columns, strict=True)]


def test_pairs_become_edges_and_each_text_is_kept_once():
    rows = read_rows([PAIR, PAIR | {"chosen": "r", "rejected": "d"}])
    assert edges(rows) == [("p", "c", "r"), ("p", "r", "d")]
    assert rows.texts == ["p", "c", "r", "d"]
    assert rows.text_S.tolist() == [1, 2, 2, 3] and rows.at_S.tolist() == [0, 0, 1, 1]
    assert rows.row_E.tolist() == [1, 2] and rows.origin(1) == "data, row 2"


def test_a_ranking_gives_all_its_pairs_and_equal_scores_are_a_tie():
    rows = read_rows([{"prompt": "p", "responses": ["a", "b", "c"], "scores": [1, 3, 1]}])
    found = {(winner, loser): bool(tie) for (_, winner, loser), tie in zip(edges(rows), rows.tie_E, strict=True)}
    assert found == {("b", "a"): False, ("b", "c"): False, ("a", "c"): True}
    assert rows.margin_E.tolist() == [2.0, 0.0, 2.0]
    assert [rows.texts[text] for text in rows.first_E] == ["a", "a", "b"]


def test_columns_of_a_judgement_arrive():
    row = PAIR | {"annotator": "ann", "weight": 2, "chosen_probability": 0.75, "margin": 1.5, "criterion": "tone"}
    rows = read_rows([row, PAIR])
    assert rows.annotators == ["ann"] and rows.annotator_E.tolist() == [0, -1]
    assert rows.criteria == ["tone"] and rows.criterion_E.tolist() == [0, -1]
    assert rows.weight_E.tolist() == [2.0, 1.0] and rows.margin_E[0] == 1.5
    assert rows.probability_E[0] == 0.75 and np.isnan(rows.probability_E[1]) and np.isnan(rows.margin_E[1])
    assert rows.first_E.tolist() == [-1, -1]


def test_position_and_ties_of_judged_formats_arrive():
    turns = [{"role": "user", "content": "q"}]
    one, other = ([*turns, {"role": "assistant", "content": text}] for text in ("a", "b"))
    rows = read_rows(
        [{"conversation_a": one, "conversation_b": other, "winner": word} for word in ("model_a", "model_b", "tie")]
    )
    assert edges(rows) == [("q", "a", "b"), ("q", "b", "a"), ("q", "a", "b")]
    assert rows.tie_E.tolist() == [False, False, True]
    assert [rows.texts[text] for text in rows.first_E] == ["a", "a", "a"]


def test_labelled_responses_arrive():
    rows = read_rows(
        [{"prompt": "p", "completion": "a", "label": True}, {"prompt": "p", "completion": "b", "label": 0}]
    )
    assert [rows.texts[text] for text in rows.response_L] == ["a", "b"]
    assert rows.label_L.tolist() == [True, False] and rows.at_L.tolist() == [0, 1] and not len(rows.row_E)


def test_rows_that_become_no_record_are_counted_by_kind(tmp_path):
    good = [json.dumps(PAIR)] * 3
    bad = [
        "{",
        json.dumps(PAIR | {"chosen": ""}),
        json.dumps(PAIR | {"chosen": "r"}),
        json.dumps({"prompt": "p", "chosen": None, "rejected": None}),
        json.dumps({"prompt": "p", "chosen": "c"}),
    ]
    file = tmp_path / "pairs.jsonl.gz"
    file.write_bytes(gzip.compress("\n".join(good + bad).encode()))
    rows = read_rows(file)
    assert rows.count == 3
    assert rows.unusable == {
        "malformed": 1,
        "empty response": 1,
        "identical responses": 1,
        "no winner": 1,
        "a field is missing": 1,
    }
    assert [problem.origin.row for problem in rows.problems] == [4, 5, 6, 7, 8]


def test_only_so_many_rows_are_read_of_each_part(tmp_path):
    for name in ("a", "b"):
        lines = [json.dumps(PAIR | {"prompt": f"{name}{number}"}) for number in range(100)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    rows = read_rows([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], most=10)
    assert [rows.texts[text] for text in rows.prompt_N] == [f"{name}{number}" for name in "ab" for number in range(5)]


def test_weights_of_parts_repeat_no_row(tmp_path):
    from logratio.config import DataPart

    (tmp_path / "a.jsonl").write_text(json.dumps(PAIR))
    assert read_rows([DataPart(path=str(tmp_path / "a.jsonl"), weight=3.0)]).count == 1


def test_chats_are_rendered_once_and_a_lone_turn_is_its_content():
    user, answer = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    assert rendered((user,)) == "q" and rendered((answer,)) == "a"
    assert rendered((user, answer)) == "user: q\nassistant: a"
    assert rendered(({**answer, "tool_calls": [{"function": {"name": "f"}}]},)).startswith("assistant: a\n{")
    assert rendered(({"role": "system", "content": "s"},)) == "system: s"


def test_data_without_any_usable_row_is_refused():
    with pytest.raises(DataError, match="no row can be trained on"):
        read_rows([PAIR | {"chosen": ""}])
