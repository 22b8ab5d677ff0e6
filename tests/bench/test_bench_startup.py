"""The benchmark of the start: every phase is found, in order, with and without preflight."""

import json
import tempfile
from pathlib import Path

import pytest

from bench import startup


@pytest.mark.slow
def test_every_phase_of_a_real_start_is_found_in_order(capsys, tmp_path, monkeypatch):
    class Kept(tempfile.TemporaryDirectory):
        def __exit__(self, *_):
            for run in Path(self.name).glob("*/config.yaml"):
                looked.append((run.parent.name, (run.parent / "preflight.json").is_file()))
            self.cleanup()

    looked = []
    monkeypatch.setattr(tempfile, "TemporaryDirectory", Kept)
    assert startup.main(["--size", "nano", "--repeats", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["phase"] for row in found["phases"]] == list(startup.PHASES)
    rest = next(row["reached"] for row in found["phases"] if row["phase"] == "rest")
    assert found["first step begins"]["without"] == rest < found["phases"][-1]["reached"]
    assert sorted(looked) == [("checked0", True), ("first", True), ("run0", False)]
