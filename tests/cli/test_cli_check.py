"""`logratio check`, and what `train` prints of the same checks."""

import json

import pytest
from commands import called, furnished
from rich.console import Console

from logratio.cli import found
from logratio.cli.app import tell
from logratio.cli.progress import ProgressLines
from logratio.data.tokenize import Encoder
from logratio.errors import DataError
from logratio.findings import Example, Finding, Past
from logratio.train.events import Event


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return furnished(tmp_path_factory.mktemp("place"), 32)


def given(place):
    return ["--model", place / "model", "--data", place / "pairs.jsonl", "--batch-size", "8", "--lr", "1e-3"]


def test_a_healthy_recipe_passes_and_leaves_nothing(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    before = sorted(place.iterdir())
    code, out, err = called(capsys, "check", *given(place), "--full")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    told = [line for line in lines if line[:6] in ("pass  ", "note  ", "warn  ", "fail  ")]
    own = [line for line in told if "  audit" not in line]  # rows of a few words repeat
    assert len(own) == 21 < len(told)
    assert [line[:4] for line in own if not line.startswith("pass")] == ["warn"]  # so few rows are held out
    assert any(line.startswith("pass  micro_batches: ") and line.endswith(" s]") for line in lines)
    assert any(line.strip().startswith("chosen, trained on:") for line in lines)
    assert sorted(place.iterdir()) == before


def test_a_recipe_that_is_wrong_says_so_and_ends_with_2(place, capsys, monkeypatch, tmp_path):
    unplanted = Encoder._ended
    monkeypatch.setattr(Encoder, "_ended", lambda self, *given: unplanted(self, *given)[:-1])
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path))
    code, out, _ = called(capsys, "check", *given(place))
    assert code == 2
    (line,) = [line for line in out.splitlines() if line.startswith("fail")]
    assert line.startswith("fail  sequence_ends: 62 of 62 responses do not end with an end token")
    code, _, err = called(capsys, "train", *given(place), "--output", tmp_path / "run")
    assert code == 2 and "preflight, sequence_ends" in err and "--no-preflight" in err
    code, _, _ = called(
        capsys, "train", *given(place), "--output", tmp_path / "run", "--no-preflight", "--epochs", "0.1"
    )
    assert code == 0


def test_a_mistake_in_the_recipe_is_told_as_train_tells_it(place, capsys):
    assert called(capsys, "check", *given(place), "--betta", "1")[0] == 2
    assert "did you mean `objective.beta`" in called(capsys, "check", *given(place), "--objective.betta", "1")[2]


HIDDEN = "\x1b\x07\x85\x90\x9b\x9c\x9d\u200b\u202e\u202c\u3164\ufeff\ud83d\U000e0101"
HOSTILE = f"\x1b[31mred\x1b]0;title\x07\r\nnext \u202eright to left\u202c {HIDDEN}"


def shown(finding, verdict):
    return [line.plain for line in found.lines(finding.as_json(), verdict)]


def test_text_of_rows_cannot_speak_to_the_terminal():
    example = Example("rows.jsonl, row 1", "why", {"chosen, trained on": HOSTILE, "prompt, read only": "x" * 999})
    lines = shown(Finding("tokens_shown", "fine", f"Says {HOSTILE}.", examples=(example,), seconds=0.25), "pass")
    whole = "".join(lines)
    assert not [mark for mark in whole if ord(mark) < 32 or mark in HIDDEN]
    whole.encode()  # half a character, as a row may hold, cannot be printed
    assert "⟨U+001B⟩[31mred" in whole and "⏎next" in whole and lines[0].endswith(" [0.250 s]")
    assert len(lines[-1]) < 400 and " … " in lines[-1]


def test_errors_notes_and_paths_cannot_speak_to_the_terminal_either(capsys):
    tell(DataError(f"row 3 says {HOSTILE}\nsecond line"))
    with ProgressLines(Console(width=80, markup=False, highlight=False, soft_wrap=True)) as progress:
        progress(Event("note", {"text": f"Says {HOSTILE}."}))
        progress(Event("warning", {"text": f"Says {HOSTILE}."}))
        progress(Event("open", {"lines": [f"data: {HOSTILE}"], "directory": f"runs/{HOSTILE}"}))
        progress(Event("done", {"directory": f"runs/{HOSTILE}", "status": "finished", "step": 3}))
    told = capsys.readouterr()
    assert told.err.startswith("logratio: row 3 says ⟨U+001B⟩[31mred") and told.err.endswith("second line\n")
    assert told.out.count("⟨U+001B⟩[31mred") >= 6
    for text in (told.out, told.err):
        assert not [mark for mark in text if (ord(mark) < 32 and mark != "\n") or mark in HIDDEN]
        text.encode()


def test_what_is_trained_on_is_marked_by_word_and_style():
    example = Example("a, row 1", "why", {"prompt, read only": "ask", "chosen, trained on": "answer"})
    finding = Finding("tokens_shown", "fine", "Says.", examples=(example,))
    read, trained = found.lines(finding.as_json(), "pass")[-2:]
    assert "underline" in str(trained.spans[-1].style) and "underline" not in str(read.spans[-1].style)
    assert trained.plain == "      chosen, trained on: answer"


@pytest.mark.parametrize(("verdict", "shows"), [("pass", False), ("note", True), ("fail", True)])
def test_remedies_stand_beside_what_is_no_pass(verdict, shows):
    assert any("Do this" in line for line in shown(Finding("x", "look", "Says.", "Do this."), verdict)) == shows


def test_a_run_prints_its_findings(capsys):
    finding = Finding("padding", "stop", "It differs.", "Mend it.", seconds=0.5)
    with ProgressLines(Console(width=80, markup=False, highlight=False, soft_wrap=True)) as progress:
        progress(Event("preflight", {"finding": finding.as_json(), "verdict": "fail"}))
    assert capsys.readouterr().out.splitlines() == ["fail  padding: It differs. [0.500 s]", "      Mend it."]


def test_of_a_run_all_that_pass_are_one_line(capsys):
    said = [Finding("padding", "fine", "Equal."), Finding("audit_length", "look", "Longer wins.", "Balance.")]
    said.append(Finding("budget", "fine", "3 s were spent."))
    with ProgressLines(Console(width=80, markup=False, highlight=False, soft_wrap=True), passes=False) as progress:
        for own in said:
            verdict = "warn" if own.level == "look" else "pass"
            progress(Event("preflight", {"finding": own.as_json(), "verdict": verdict}))
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["warn  audit_length: Longer wins.", "      Balance.", "pass  2 checks. 3 s were spent."]


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        (("fine", "note"), ""),
        (("look", "stop", "look"), "stop: b; look: a, c; earlier: d (stop at step 7)"),
        ((), ""),
    ],
)
def test_a_run_ends_with_what_its_diagnosis_says_to_look_at(levels, said, tmp_path, capsys):
    past = Past("stop", 7, "Said.")
    found = [Finding(name, level, "Says.").as_json() for name, level in zip("abc", levels, strict=False)]
    found += [Finding("d", "fine", "Says.", past=past).as_json()] if len(levels) == 3 else []
    (tmp_path / "findings.json").write_text(json.dumps(found))
    with ProgressLines(Console(width=80, markup=False, highlight=False, soft_wrap=True)) as progress:
        progress(Event("done", {"directory": str(tmp_path), "status": "finished", "step": 3}))
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("diagnosis")]
    assert told == ([f"diagnosis: {said}; logratio diagnose {tmp_path} says what to do"] if said else [])
