import codecs
import json

import pytest
from planted import SCRIPTS, Writer

from logratio.audit.encoding import defects, encoding, repaired, unusable
from logratio.audit.rows import read_rows


@pytest.mark.parametrize(
    "text",
    [
        "It’s “fine” – naïve café…",
        "中文。",
        "مرحبا بالعالم",
        "👍🏽 done",
        "Ärger über Öl",
        "prix : 3 €",
        "ÇA VA À LYON",
        "A\tb\nc",
        "π ≤ ∞",
    ],
)
def test_honest_text_in_any_script_has_no_defects(text):
    assert defects(text) == [] and repaired(text) == (text, [])


TEXTS = ("It’s “fine”", "naïve café", "Ärger über Öl", "中文句子。", "مرحبا", "👍 yes")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [*((text, "latin-1") for text in TEXTS), ("It’s fine", "cp1252"), *((text, "cp1252") for text in TEXTS[1:3])],
)
def test_mojibake_is_seen_and_undone(text, wrong):
    broken = text.encode().decode(wrong)
    assert "mojibake" in defects(f"Before {broken} after.")
    assert repaired(f"Before {broken} after.")[0] == f"Before {text} after."


@pytest.mark.parametrize(
    ("text", "kind", "clean"),
    [
        ("a\ufffdb", "replacement characters", "a\ufffdb"),
        ("one \x96 two\x85", "control characters", "one – two…"),
        ("a\x00b\x1bc", "control characters", "abc"),
        ("\ufeffab", "byte order marks", "ab"),
        ("a\u202eb", "direction overrides", "a\u202eb"),
        ("a<br />b", "HTML left over", "a<br />b"),
        ("a &amp; b", "HTML left over", "a &amp; b"),
    ],
)
def test_unusual_characters_are_named_and_what_can_be_is_mended(text, kind, clean):
    assert defects(text) == [kind] and repaired(text)[0] == clean


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_kind_is_counted_once_a_text(script):
    writer = Writer(1, script)
    data = [writer.pair() for _ in range(50)]
    assert encoding(read_rows(data)).level == "fine"
    for at in range(10):
        data[at]["chosen"] += "\x00\x00"
    data[20]["prompt"] += " \ufffd\ufffd"
    finding = encoding(read_rows(data))
    assert finding.figures["control_characters"] == 10 and finding.figures["replacement_characters"] == 1
    assert finding.level == "look" and "11 (7.3" in finding.says
    assert [example.origin for example in finding.examples] == ["data, row 21", "data, row 1", "data, row 2"]


def test_html_and_direction_marks_alone_are_only_noted():
    finding = encoding(read_rows([{"prompt": "p", "chosen": "a<br>", "rejected": "b"}]))
    assert finding.level == "note" and not finding.remedy


def test_a_file_that_begins_with_a_mark_is_named(tmp_path):
    row = json.dumps({"prompt": "p", "chosen": "a", "rejected": "b"}).encode()
    (tmp_path / "a.jsonl").write_bytes(codecs.BOM_UTF8 + row)
    finding = encoding(read_rows(tmp_path / "a.jsonl"))
    assert finding.level == "note" and "1 of 1 files begin with a byte order mark" in finding.says


def test_unusable_rows_are_told_from_rows_without_a_winner():
    good = {"prompt": "p", "chosen": "a", "rejected": "b"}
    none = {"prompt": "p", "chosen": None, "rejected": None}
    finding = unusable(read_rows([good] * 98 + [none] * 2))
    assert finding.level == "note" and finding.figures["unusable"] == 0
    assert finding.figures["without_preference"] == 2 and "2 no winner" in finding.says
    finding = unusable(read_rows([good] * 98 + [good | {"chosen": ""}] * 2))
    assert finding.level == "look" and finding.figures["empty_response"] == 2
    assert finding.examples[0].origin == "data, row 99"
    assert unusable(read_rows([good] + [good | {"chosen": 3}] * 2)).level == "stop"
    assert unusable(read_rows([good])).level == "fine"
