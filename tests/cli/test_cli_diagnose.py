"""`logratio diagnose` on a terminal."""

import json

import pytest

from logratio.cli import diagnose
from logratio.findings import Finding, Past

HIDDEN = "\x1b\x85\x90\x9b\x9c\x9d\u200b\u202e\u3164\ud83d\U000e0101"


@pytest.mark.parametrize("as_json", [False, True])
def test_text_of_rows_in_a_finding_cannot_speak_to_the_terminal(as_json, capsys, monkeypatch, tmp_path):
    """Half a character, which ends a print, included."""
    found = Finding("cue", "look", f"Explained by {HIDDEN}[31m\nnext.", f"Remove {HIDDEN}.")
    monkeypatch.setattr(diagnose, "diagnose_run", lambda directory: [found])
    monkeypatch.setattr(diagnose, "write_findings", lambda directory, found: None)
    diagnose.run(tmp_path, as_json=as_json)
    told = capsys.readouterr().out
    assert not [mark for mark in told if mark in HIDDEN]
    if as_json:
        assert json.loads(told)[0]["says"] == found.says
    else:
        assert told.splitlines()[0].endswith("⟨U+E0101⟩[31m⏎next.") and len(told.splitlines()) == 2


def test_what_was_graver_earlier_is_told_though_it_is_fine_now(capsys, monkeypatch, tmp_path):
    past = Past("stop", 20, f"Samples repeat {HIDDEN}.")
    found = [Finding("collapse", "fine", "Samples vary.", past=past), Finding("length", "fine", "Even.")]
    monkeypatch.setattr(diagnose, "diagnose_run", lambda directory: found)
    monkeypatch.setattr(diagnose, "write_findings", lambda directory, found: None)
    diagnose.run(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "fine  collapse: Samples vary." and lines[2] == "fine  length (--all shows them)"
    assert lines[1].startswith("      At step 20 of the run this was stop: Samples repeat ⟨U+001B⟩")
