import gzip
import json

import pytest

from logratio.config import DataPart, RowsConfig
from logratio.data.source import read_records
from logratio.errors import ConfigError, DataError
from logratio.records import Carried

GOOD = {"prompt": "p", "chosen": "c", "rejected": "r"}


def load(data, **rows):
    stream = read_records(data, RowsConfig(**rows))
    return list(stream), stream.report


def refused(data, **rows):
    with pytest.raises(DataError) as caught:
        load(data, **rows)
    return str(caught.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "p", "chosen": "c"}, "`rejected` is missing, must be text or a list of messages"),
        (GOOD | {"chosen": None}, "`chosen` is null, must be text or a list of messages"),
        (GOOD | {"prompt": None}, "`prompt` is null, must be text or a list of messages"),
        (GOOD | {"chosen": 3}, "`chosen` is a number, must be text or a list of messages"),
        (GOOD | {"chosen": True}, "`chosen` is true, must be text"),
        (GOOD | {"chosen": ["a"]}, "`chosen` is a list, must be text or a list of messages"),
        (
            GOOD | {"chosen": [{"role": "bot", "content": "x"}]},
            '`chosen`, message 1: role "bot" is unknown, must be one of',
        ),
        (GOOD | {"prompt": "half \udc00"}, "`prompt` holds \\udc00, half of a character, at position 6"),
        (GOOD | {"weight": -1}, "`weight` is -1, must be at least 0"),
        (GOOD | {"weight": "heavy"}, '`weight` is "heavy", must be a number'),
        (GOOD | {"margin": float("nan")}, "`margin` is nan, must be finite"),
        (GOOD | {"margin": True}, "`margin` is true, must be a number"),
        (GOOD | {"chosen_probability": 1.5}, "`chosen_probability` is 1.5, must be from 0 to 1"),
        (GOOD | {"annotator": ["x"]}, "`annotator` is a list, must be text or a whole number"),
        (GOOD | {"tools": 3}, "`tools` is a number, must be a list of JSON schemas"),
        (GOOD | {"system": 3}, "`system` is a number, must be text"),
        ([], "holds a list, must be a mapping"),
    ],
)
def test_an_unreadable_row_stops_and_is_named(row, said):
    message = refused([GOOD] * 4 + [row])
    assert message.startswith("1 of 5 rows cannot be read; repair them or leave them out with --skip-bad-rows:")
    assert f"data, row 5: {said}" in message


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [{"prompt": "p", "completion": "c", "label": True}, {"prompt": "p", "completion": "c", "label": "so"}],
            '"so"',
        ),
        (
            [{"prompt": "p", "responses": ["a", "b"], "scores": [1]}],
            "2 `responses` with 1 `scores`, must be equally many",
        ),
        ([{"prompt": "p", "responses": ["a"], "scores": [1]}], "at least 2"),
        ([{"prompt": "p", "responses": ["a", None], "scores": [1, 2]}], "`responses.1` is null, must be text"),
        ([{"prompt": "p", "responses": ["a", "b"], "scores": [1, None]}], "`scores.1` is null, must be a number"),
        ([{"prompt": "p", "responses": ["a", "b"], "ranks": "12"}], "`ranks` is text, must be a list"),
        ([{"history": "h", "human_ref_A": "a", "human_ref_B": "b", "labels": 1, "score_ratio": 0}], "must be above 0"),
        ([{"info": {"title": "t"}, "summaries": ["a", "b"], "choice": 0}], "`post` is missing, must be text"),
        ([{"info": {"post": "t"}, "summaries": ["a"], "choice": 0}], "`summaries` holds 1, must hold 2"),
        ([{"info": {"post": "t"}, "summaries": ["a", "b"], "choice": 2}], "`choice` is 2, must be 0 or 1"),
        (
            [{"conversation_a": [], "conversation_b": [], "winner": "c"}],
            '`winner` is "c", must be one of model_a, model_b',
        ),
        ([{"messages": "text"}], "`messages` is text, must be a list of messages"),
        ([{"text": None}], "`text` is null, must be text"),
    ],
)
def test_other_formats_name_their_fields_too(rows, said):
    assert said in refused(rows)


def test_a_column_that_only_some_rows_have_is_missing_in_the_others():
    message = refused([{"prompt": "p", "chosen": "c"}, GOOD])
    assert "1 of 2 rows" in message and "data, row 1: `rejected` is missing" in message


def test_the_first_twenty_are_listed_and_all_are_counted():
    rows = [GOOD, *({**GOOD, "chosen": None} for _ in range(137))]
    message = refused(rows)
    assert message.startswith("137 of 138 rows cannot be read")
    assert message.count("`chosen` is null") == 20
    assert "data, row 21: " in message and "data, row 22: " not in message
    assert message.endswith("… and 117 more")


def test_no_record_follows_an_unreadable_row():
    seen = []
    with pytest.raises(DataError):
        for record in read_records([GOOD, {**GOOD, "chosen": None}, GOOD], RowsConfig()):
            seen.append(record.origin.row)
    assert seen == [1]


def test_malformed_lines_bad_bytes_and_a_truncated_gzip_are_unreadable_rows(tmp_path):
    line = json.dumps(GOOD).encode() + b"\n"
    (tmp_path / "a.jsonl").write_bytes(line + b'{"prompt": \n' + b'{"prompt": "\xe9"}\n' + line)
    whole = gzip.compress(b"".join(json.dumps(GOOD | {"x": i**9}).encode() + b"\n" for i in range(9000)))
    (tmp_path / "b.jsonl.gz").write_bytes(whole[:-2000])
    message = refused((DataPart(path=str(tmp_path)),))
    assert f"{tmp_path}/a.jsonl, row 2: malformed JSON (Expecting value at character " in message
    assert f"{tmp_path}/a.jsonl, row 3: not UTF-8 (byte 0xe9 at position 13); convert the file to UTF-8" in message
    assert "b.jsonl.gz, row " in message and "the gzip stream is broken or truncated here" in message
    records, report = load((DataPart(path=str(tmp_path)),), skip_bad_rows=True)
    assert report.unreadable.count == 3
    assert len(records) == report.kept == report.read - 3 > 5000


UNUSABLE = {
    "empty response": {"prompt": "p", "chosen": "c", "rejected": " \n"},
    "identical responses": {"prompt": "p", "chosen": "c", "rejected": "c"},
    "no assistant turn": {"prompt": "p", "chosen": [{"role": "user", "content": "u"}], "rejected": "r"},
}


@pytest.mark.parametrize("reason", UNUSABLE)
def test_unusable_rows_are_dropped_and_counted_up_to_the_limit(reason):
    good, bad = [GOOD] * 99, UNUSABLE[reason]
    records, report = load([*good, bad])
    assert len(records) == report.kept == 99 and report.read == 100
    assert report.unusable[reason].count == 1
    assert f"  unusable: {reason}, 1 row (data, row 100)" in report.lines()
    message = refused([*good, bad, bad])
    assert message.startswith("2 rows (2.0%) cannot be trained on, and --max-bad-rows allows 1.0%: ")
    assert f"{reason}, 2 rows (data, rows 100, 101); repair them, raise --max-bad-rows, or" in message
    assert "--skip-bad-rows" in message
    assert len(load([*good, bad, bad], max_bad_rows=0.02)[0]) == 99
    assert len(load([*good, bad, bad], skip_bad_rows=True)[0]) == 99


def test_transcripts_without_a_common_prompt_are_unusable():
    row = {"chosen": "\n\nHuman: a\n\nAssistant: x", "rejected": "\n\nHuman: b\n\nAssistant: y"}
    assert "no shared prompt, 1 row (data, row 1)" in refused([row])


def test_rows_without_a_preference_are_counted_apart():
    null = {"prompt": "p", "chosen": None, "rejected": None}
    records, report = load([GOOD] + [null] * 50)
    assert len(records) == 1 and not report.unusable
    assert report.lines()[-1] == "  without a preference: no winner, 50 rows (data, rows 2, 3, 4, …)"
    scored = {"prompt": "p", "responses": ["a", "b"], "scores": [1, 2]}
    assert load([scored, scored | {"scores": [2, 2]}])[1].without_preference["tie"].count == 1
    labelled = {"prompt": "p", "completion": "c", "label": True}
    assert load([labelled, labelled | {"label": None}])[1].without_preference["no label"].count == 1


@pytest.mark.parametrize("rows", [[], [{"prompt": "p", "chosen": None, "rejected": None}]])
def test_no_usable_row_is_an_error_even_when_bad_rows_are_skipped(rows):
    message = refused(rows, skip_bad_rows=True)
    assert message.startswith("no row can be trained on (")
    assert ("there is none at all" in message) is (not rows)


def test_optional_columns_are_carried():
    row = GOOD | {"weight": 2, "margin": "-0.5", "chosen_probability": 0.75, "annotator": 12, "criterion": "tone"}
    (record,), _ = load([row])
    assert record.carried == Carried(weight=2.0, margin=-0.5, probability=0.75, annotator="12", criterion="tone")
    (record,), _ = load([GOOD | dict.fromkeys(("weight", "margin", "chosen_probability", "annotator", "criterion"))])
    assert record.carried == Carried()


def test_a_map_renames_before_the_format_is_found():
    rows = [{"question": "p", "pair": [{"text": "c"}, {"text": "r"}]}]
    (record,), _ = load(rows, map={"chosen": "pair.0.text", "rejected": "pair.1.text"})
    assert (record.prompt, record.chosen, record.rejected) == ("p", "c", "r")
    message = refused([GOOD, {"prompt": "p", "chosen": "c"}], map={"rejected": "rejected"})
    assert "data, row 2: `rejected` is missing" in message
    with pytest.raises(ConfigError, match='"choosen"; did you mean "chosen"'):
        read_records(rows, RowsConfig(map={"choosen": "x"}))


def test_each_file_has_its_own_format_and_the_report_says_which(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(GOOD) + "\n")
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "x"}) + "\n")
    parts = tuple(DataPart(path=str(tmp_path / name)) for name in ("a.jsonl", "b.jsonl"))
    records, report = load(parts)
    assert [type(record).__name__ for record in records] == ["Pair", "Demonstration"]
    assert report.lines() == [
        f"{tmp_path}/a.jsonl: pairs with their prompt (prompt/chosen/rejected)",
        f"{tmp_path}/b.jsonl: plain text (text)",
        "2 of 2 rows kept",
    ]


def test_an_unknown_format_stops_at_the_first_file(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"question": "q", "response_j": "a", "response_k": "b"}\n')
    parts = (DataPart(path=str(tmp_path / "a.jsonl")), DataPart(path=str(tmp_path / "b.jsonl")))
    assert refused(parts) == f'{tmp_path}/b.jsonl does not exist; did you mean "{tmp_path}/a.jsonl"?'  # paths first
    (tmp_path / "b.jsonl").write_text("")
    message = refused(parts)
    assert message.startswith(f"{tmp_path}/a.jsonl, row 1: need prompt/chosen/rejected")
    assert message.endswith(
        "found question/response_j/response_k; try --map chosen=response_j --map rejected=response_k"
    )


def test_reading_again_gives_the_same_and_counts_anew():
    stream = read_records([GOOD] * 3, RowsConfig())
    assert list(stream) == list(stream)
    assert stream.report.read == 3


def test_reading_needs_neither_torch_nor_transformers():
    import subprocess
    import sys

    code = (
        "import sys; from logratio.data.source import read_records; from logratio.data.adapt import adapt;"
        "from logratio.config import RowsConfig; list(read_records([{'text': 'a'}], RowsConfig()));"
        "print(*{'torch', 'transformers', 'datasets', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# Rows, kept, rows without a winner, unusable: from the READMEs, and from counting null and empty fields by other means.
REAL = {
    "convarg/pairs": (16927, 12792, 4135, 0),
    "demo-formats/alpaca_en_demo_sft": (999, 999, 0, 0),
    "demo-formats/dpo_en_demo": (300, 300, 0, 0),
    "demo-formats/kto_en_demo": (300, 300, 0, 0),
    "hh-harmless/train": (1500, 1496, 0, 4),
    "hh-harmless/test": (300, 300, 0, 0),
    "imdb/train": (25000, 25000, 0, 0),
    "pandalm/pairs": (999, 836, 105, 52),
    "tinystories/stories": (5511, 5511, 0, 0),
    "tldr-judged/policy_vs_reference": (500, 354, 146, 0),
}


@pytest.mark.parametrize("name", REAL)
def test_every_real_set_loads(shared_data, name):
    count, kept, undecided, unusable = REAL[name]
    part = DataPart(path=str(shared_data / f"{name}.jsonl.gz"))
    # pandalm holds 52 empty answers (5.9 %) and 6 that are the JSON values true and false
    records, report = load((part,), skip_bad_rows=name.startswith("pandalm"))
    assert (report.read, report.kept, len(records)) == (count, kept, kept)
    assert sum(tally.count for tally in report.without_preference.values()) == undecided
    assert report.unusable_count == unusable
    assert report.unreadable.count == count - kept - undecided - unusable


def test_pandalm_is_refused_with_the_rows_that_are_no_text(shared_data):
    message = refused((DataPart(path=str(shared_data / "pandalm" / "pairs.jsonl.gz")),))
    assert message.startswith("6 of 999 rows cannot be read")
    assert "pairs.jsonl.gz, row 158: `chosen` is true, must be text" in message
