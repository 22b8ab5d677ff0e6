import json
import re
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection

import pytest

from logratio.cli.app import main


def told(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["label", *words])
    out = capsys.readouterr()
    return caught.value.code, out.out, out.err


def samples(path):
    rows = [{"prompt": f"p{n}", "responses": ["x", "y"]} for n in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_what_names_nothing_to_judge_or_too_much_is_refused(tmp_path, capsys):
    file = samples(tmp_path / "s.jsonl")
    for words, said in (
        ([], "there is nothing to judge"),
        (["--prompts", file], "there is nothing to judge"),
        (["--model", "m"], "--model draws responses to --prompts"),
        ([file, "--model", "m", "--prompts", file], "in place of DATA"),
        (["--model", "a", "--model", "b", "--model", "c", "--prompts", file], "of one model or two"),
        ([str(tmp_path / "none.jsonl")], "does not exist"),
        (["--status", str(tmp_path / "none.jsonl")], "does not exist"),
        ([file, "--output", file], "is no judgement"),
        ([file, "--output", str(tmp_path / "l.jsonl"), "--annotator", "a\u200bb"], "no hidden characters"),
        ([file, "--output", str(tmp_path / "l.jsonl"), "--port", "70000"], "cannot be listened at"),
    ):
        code, out, err = told(words, capsys)
        assert code == 2 and said in err and "Traceback" not in err, words


def test_status_counts_a_file_without_serving(tmp_path, capsys):
    row = {"prompt": "p", "response_a": "x", "response_b": "y", "winner": "a", "annotator": "ada", "task": "1"}
    (tmp_path / "labels.jsonl").write_text(json.dumps(row) + "\n")
    code, out, _ = told(["--status", str(tmp_path / "labels.jsonl")], capsys)
    assert code == 0 and out.startswith("1 judgement of 1 pair by ada (1).")


def test_the_command_serves_until_interrupted_and_then_counts(tmp_path):
    out = tmp_path / "labels.jsonl"
    words = ["label", samples(tmp_path / "s.jsonl"), "--output", str(out), "--annotator", "ada"]
    with subprocess.Popen(
        [sys.executable, "-m", "logratio", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout.readline().startswith("3 pairs to judge")
        port, token = re.search(r"Open http://127\.0\.0\.1:(\d+)/\?token=(\S+)", process.stdout.readline()).groups()

        def ask(**asked):
            connection = HTTPConnection("127.0.0.1", int(port), timeout=20)
            headers = {"Content-Type": "application/json", "X-Logratio-Token": token}
            connection.request("POST", f"/answer?token={token}", json.dumps({"annotator": "ada", **asked}), headers)
            return json.loads(connection.getresponse().read())

        task = ask(action="show")["task"]
        assert ask(action="judge", task=task, verdict="tie")["judged"] == 1
        assert token not in out.read_text()
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 0 and "1 judgement of 1 pair by ada" in rest and f"--data {out}" in rest
    assert "Traceback" not in rest
