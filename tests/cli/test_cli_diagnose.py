"""`logratio diagnose` on a terminal."""

import json

import pytest

from logratio.cli import diagnose
from logratio.findings import Finding

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
