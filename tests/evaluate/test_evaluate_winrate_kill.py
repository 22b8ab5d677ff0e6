"""A contest killed while it draws and while it judges ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from small_models import model, nudged, pairs, save

pytestmark = pytest.mark.slow

SLOW = """
import time

def score(prompts, responses, rows):
    time.sleep(0.3)
    with open("asked.txt", "a") as file:
        file.write("".join("x" for _ in prompts))
    return [float(len(text)) for text in responses]
"""
FILES = ("answers.jsonl", "judgements.jsonl", "duels.jsonl", "winrate.json")


def rows(file):
    return file.read_bytes().count(b"\n") if file.exists() else 0


def test_killed_while_drawing_and_while_judging(tmp_path):
    save(model(), tmp_path / "start")
    save(nudged(model(), 0.3), tmp_path / "moved")
    texts = list({row["prompt"] for row in pairs(400)})[:192]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in sorted(texts)))
    (tmp_path / "judge.py").write_text(SLOW)
    command = [sys.executable, "-m", "logratio", "winrate", "moved", "start", "--prompts", "prompts.jsonl"]
    command += ["--judge", "judge.py:score", "--max-new-tokens", "24"]

    def begin(out):
        return subprocess.Popen([*command, "--output", out], cwd=tmp_path, stdout=subprocess.DEVNULL, env=os.environ)

    assert begin("whole").wait(240) == 0
    asked = len((tmp_path / "asked.txt").read_text())
    (tmp_path / "asked.txt").unlink()
    for file, least in (("answers.jsonl", 64), ("judgements.jsonl", 64)):
        running = begin("killed")
        until = time.monotonic() + 120
        while rows(tmp_path / "killed" / file) < least and running.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        assert running.poll() is None, "it ended before it was killed"
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert not (tmp_path / "killed" / "winrate.json").exists()
    assert begin("killed").wait(240) == 0
    for name in FILES:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert len((tmp_path / "asked.txt").read_text()) <= asked + 2 * 2 * 32  # at most one batch of pairs a kill
