"""`logratio winrate` on a terminal: from files of answers and a function, without a model."""

import json
import re
import shlex
from pathlib import Path

import pytest

from logratio.cli.app import main

HIDDEN = "\x1b\x9b\u202e\u200b"
REWARD = """
def score(prompts, responses, rows):
    return [float(len(set(text.split()) & set(row["wanted"].split()))) for text, row in zip(responses, rows)]

def fails(prompts, responses, rows):
    return [float("nan") if "3" in prompt else float(len(text)) for prompt, text in zip(prompts, responses)]
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        {"prompt": f"Say {i} {HIDDEN}", "wanted": "yes indeed", "category": f"kind {i % 2}{HIDDEN}"} for i in range(12)
    ]
    said = {
        "good": ["yes indeed"] * 9 + ["no no no"] * 3,
        "fair": ["yes at last"] * 12,
        "poor": ["no, never at all"] * 12,
    }
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, texts in said.items():
        lines = [{"prompt": row["prompt"], "response": text} for row, text in zip(rows, texts, strict=True)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "rewards.py").write_text(REWARD)
    return tmp_path


def called(capsys, *words):
    with pytest.raises(SystemExit) as caught:
        main(["winrate", *words])
    told = capsys.readouterr()
    return caught.value.code, told.out, told.err


GIVEN = ("--prompts", "prompts.jsonl", "--judge", "rewards.py:score")


def test_two_models_are_compared_and_what_was_lost_is_listed(files, capsys):
    code, out, _ = called(capsys, "good.jsonl", "fair.jsonl", *GIVEN)
    assert code == 0
    assert "9 won, 0 tied, 3 lost" in out and "75.0\u202f%" in out
    assert out.index("prompts lost by good.jsonl (3)") < out.index("Say 9") < out.index("won by good.jsonl (9)")
    assert not [mark for mark in out if mark in HIDDEN] and "⟨U+001B⟩" in out
    folder = files / "winrates" / "good-fair"
    assert out.rstrip().endswith("winrates/good-fair/winrate.html")
    assert {path.name for path in folder.iterdir()} == {
        "answers.jsonl",
        "judgements.jsonl",
        "duels.jsonl",
        "winrate.json",
        "winrate.html",
    }
    (pair,) = json.loads((folder / "winrate.json").read_text())["at"][0]["pairs"]
    assert pair["rate"]["mean"] == 0.75 and pair["categories"][f"kind 0{HIDDEN}"]["n"] == 6


def test_a_prompt_with_several_answers_is_listed_once(files, capsys):
    for name in ("good", "fair"):
        file = files / f"{name}.jsonl"
        file.write_text(file.read_text() * 3)
    _, out, _ = called(capsys, "good.jsonl", "fair.jsonl", *GIVEN)
    assert "27 won, 0 tied, 9 lost" in out and "prompts lost by good.jsonl (3)" in out and out.count("Say 9 ") == 1


def test_three_models_are_ranked(files, capsys):
    code, out, _ = called(capsys, "poor.jsonl", "good.jsonl", "fair.jsonl", *GIVEN, "--output", "three")
    lines = [line.split() for line in out.splitlines()]
    ranks = [line[1] for line in lines if line and line[0] in ("1", "2", "3")]
    assert code == 0 and ranks == ["good.jsonl", "fair.jsonl", "poor.jsonl"]
    assert "largest gap between a win rate and what the ranking says" in out


def test_one_prompt_gives_wide_intervals_and_a_ranking_without_any(files, capsys):
    names = ("poor.jsonl", "good.jsonl", "fair.jsonl")
    code, out, _ = called(capsys, *names, *GIVEN, "--limit", "1", "--output", "one")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert code == 0 and "1 prompt" in lines and "win rate, ties ½ 0.0 % 0.0 % … 79.3 % 1" in lines
    assert [line.split()[3:] for line in lines if line.startswith("1 good.jsonl")] == [["1–3"]]  # no interval


def test_json_alone_goes_to_standard_output(files, capsys):
    _, out, _ = called(capsys, "good.jsonl", "fair.jsonl", *GIVEN, "--json")
    assert json.loads(out)["models"] == ["good.jsonl", "fair.jsonl"]
    assert not [mark for mark in out if mark in HIDDEN]


def test_failures_are_told_or_stop(files, capsys):
    words = ("good.jsonl", "poor.jsonl", "--prompts", "prompts.jsonl", "--judge", "rewards.py:fails")
    code, out, _ = called(capsys, *words)
    assert (
        code == 0 and "1 without a verdict, left out" in out and "warning: the judge gave no verdict on 1 of 12" in out
    )
    code, _, err = called(capsys, *words, "--output", "strict", "--on-failure", "stop")
    assert code == 2 and "failed on 1 of 12 prompts" in err


def test_its_page_is_written_again_from_its_folder(files, capsys):
    called(capsys, "good.jsonl", "fair.jsonl", *GIVEN)
    page = files / "winrates" / "good-fair" / "winrate.html"
    before = page.read_bytes()
    page.unlink()
    with pytest.raises(SystemExit):
        main(["report", str(page.parent)])
    assert capsys.readouterr().out.strip() == str(page) and page.read_bytes() == before


@pytest.mark.parametrize("other", ["nomodel", "some.jsonl"])
def test_who_cannot_answer_is_named_before_anything_is_written(files, capsys, other):
    (files / "some.jsonl").write_text("".join((files / "fair.jsonl").read_text().splitlines(True)[:9]))
    code, _, err = called(capsys, "good.jsonl", other, *GIVEN)
    assert code == 2 and other in err and not (files / "winrates").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("good.jsonl", *GIVEN), "two or more"),
        (("good.jsonl", "fair.jsonl", *GIVEN, "--temperature", "warm"), "--temperature is warm"),
        (("good.jsonl", "fair.jsonl", *GIVEN, "--temperature", "-1"), "--temperature is -1"),
        (("good.jsonl", "fair.jsonl", *GIVEN[:3], "rewards.py:absent"), "defines no absent"),
        (("good.jsonl", "fair.jsonl", "--prompts", "absent.jsonl", *GIVEN[2:]), "does not exist"),
        (("good.jsonl", "fair.jsonl", *GIVEN, "--by", "topic"), "wanted"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(files, capsys, words, said):
    code, out, err = called(capsys, *words)
    assert code == 2 and said in err and out == ""


def test_the_example_of_the_docs_says_what_it_says_there(tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[2] / "docs" / "winrates.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (code,) = [body for kind, body in blocks if kind == "python"]
    _, command = [shlex.split(body) for kind, body in blocks if kind == "bash"]
    (shown,) = [body for kind, body in blocks if kind == "text"]
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "winrates.md", "exec"), {})
    assert command[:2] == ["logratio", "winrate"]
    exit_code, out, _ = called(capsys, *command[2:])
    assert exit_code == 0 and shown.replace(" %", "\u202f%") in out.replace(" %", "\u202f%")
