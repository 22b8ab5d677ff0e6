"""Rows as prompts: the tokens that training puts before a response, and what of the row goes to the judge."""

import json

import numpy as np
import pytest
from small_tokenizers import byte_tokenizer

from logratio.config import DataPart, RowsConfig, TemplateConfig, TokensConfig
from logratio.data.prepare import prepare
from logratio.data.prompts import prepare_prompts
from logratio.errors import DataError

PAIRS = [
    {"prompt": f"the cat {n}", "chosen": f" sat {n}", "rejected": f" ran {n}", "weight": n + 0.5} for n in range(4)
]
DIALOGUES = [
    {"chosen": f"\n\nHuman: why {n}?\n\nAssistant: Because.", "rejected": f"\n\nHuman: why {n}?\n\nAssistant: No."}
    for n in range(3)
]


def prompted(data, *, rows=None, room=8, tokenizer=None, **tokens):
    return prepare_prompts(
        data,
        tokenizer=tokenizer or byte_tokenizer(),
        tokens=TokensConfig(**tokens),
        template=TemplateConfig(),
        rows=RowsConfig(**(rows or {})),
        room=room,
    )


@pytest.mark.parametrize("data", [PAIRS, DIALOGUES], ids=["a column", "what responses share"])
def test_a_prompt_has_the_tokens_that_training_on_pairs_puts_before_a_response(data):
    found = prompted(data)
    offline = prepare(
        data,
        kind="pairs",
        tokenizer=byte_tokenizer(),
        tokens=TokensConfig(),
        template=TemplateConfig(),
        rows=RowsConfig(),
    )
    assert [group.prompt.tolist() for group in found.groups] == [group.prompt.tolist() for group in offline.groups]
    assert found.prompt_hash.tolist() == offline.prompt_hash.tolist()
    assert all(group.responses == () and group.scored == 0 for group in found.groups)
    assert any("hold responses too, which are not read" in line for line in found.report.lines())


def test_the_other_fields_and_the_weight_stay_with_the_prompt():
    found = prompted([{"question": "2+2", "answer": "4", "tests": [1, {"a": 2}], "weight": 3}, {"prompt": "hi"}])
    first, second = found.asking
    assert (first.prompt, first.row["answer"], first.row["tests"], first.weight) == ("2+2", "4", [1, {"a": 2}], 3.0)
    assert "question" not in first.row and second.row == {} and second.weight == 1.0


def test_another_answer_is_other_data():
    rows = [{"prompt": "2+2", "answer": "4"}]
    assert prompted(rows).fingerprint == prompted(rows).fingerprint
    assert prompted(rows).fingerprint != prompted([{"prompt": "2+2", "answer": "5"}]).fingerprint


def test_prompts_without_room_for_a_response_are_dropped_named_or_cut_at_their_beginning():
    rows = [{"prompt": "a" * 5}, {"prompt": "b" * 9 + "c"}, {"prompt": "d" * 6}]
    dropped = prompted(rows, max_length=14, room=8)
    assert [one.prompt for one in dropped.asking] == ["a" * 5, "d" * 6]
    assert "1/3 prompts exceed 6 tokens (dropped)" in dropped.report.length_line()
    with pytest.raises(DataError, match="row 2: the prompt is too long for a response of 8 tokens"):
        prompted(rows, max_length=14, room=8, overflow="error")
    with pytest.raises(DataError, match="all prompts are too long"):
        prompted(rows, max_length=9, room=8)
    cut = prompted(rows, max_length=14, room=8, overflow="left_prompt")
    whole = prompted(rows)
    assert np.array_equal(cut.groups[1].prompt, whole.groups[1].prompt[-6:]) and len(cut.groups) == 3


def test_rows_without_a_prompt_are_counted_and_too_many_of_them_stop(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [{"prompt": "a"}, {"prompt": 3}, {"prompt": "b"}]))
    with pytest.raises(DataError, match=r"1 row \(.*row 2\) hold no prompt that can be read"):
        prompted((DataPart(path=str(path)),))
    found = prompted((DataPart(path=str(path)),), rows={"skip_bad_rows": True})
    assert [one.prompt for one in found.asking] == ["a", "b"]
    assert any(line.startswith("  without a prompt: 1 row") for line in found.report.lines())
    assert found.groups.origin(1).row == 3
