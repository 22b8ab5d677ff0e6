"""docs/labelling.md is run as it stands, on a tiny model, by an annotator who posts what the page would."""

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from label_desk import Client

from logratio.cli.app import main
from small_files import BAD, FILMS, GOOD, TOPICS, write_model

PAGE = (Path(__file__).parents[2] / "docs" / "labelling.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)[1:]
    for block in re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S)
    for line in block.splitlines()
]


def praise(turns):
    words = [word for turn in turns for word in turn["text"].split()]
    return sum((word in GOOD) - (word in BAD) for word in words)


def judge_all(words):
    """Run `logratio label` and judge everything as somebody who likes praise; return what it printed at its end."""
    command = [sys.executable, "-m", "logratio", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        head = process.stdout.readline() + process.stdout.readline()
        port, token = re.search(r":(\d+)/\?token=(\S+)", head).groups()
        client = Client(int(port), token)
        _, told = client.ask(action="show", annotator="ada")
        while told["task"]:
            a, b = praise(told["a"]), praise(told["b"])
            verdict = "both_bad" if max(a, b) < 0 else "tie" if a == b else "a" if a > b else "b"
            status, told = client.ask(action="judge", annotator="ada", task=told["task"], verdict=verdict)
            assert status == 200, told
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 0, rest
    return rest


@pytest.mark.slow
def test_the_loop_runs_as_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_model(Path("my-model"))
    prompts = [{"prompt": f"Review the {topic} of {film} :"} for film in FILMS[:10] for topic in TOPICS]
    Path("prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    assert [words[0] for words in COMMANDS] == ["sample", "label", "train"] * 2 + ["label", "audit", "train"]
    counts = []
    for words in COMMANDS:
        if words[0] == "label" and "--status" not in words:
            judge_all(words)
            rows = [json.loads(line) for line in Path("labels.jsonl").read_text().splitlines()]
            counts.append(len(rows))
            continue
        with pytest.raises(SystemExit) as caught:
            main(words)
        told = capsys.readouterr()
        assert caught.value.code == 0, (words, told.out, told.err)
    assert counts[0] > 40 and counts[0] < counts[1] <= counts[0] + 20
    assert len({row["task"] for row in rows}) == len(rows)
    assert {row["winner"] for row in rows} == {"a", "b", "tie", "both_bad"}
    assert Path("runs/kto/model").is_dir() and Path("runs/round2/model").is_dir()


def test_keys_and_columns_of_the_page_are_those_of_the_program(tmp_path):
    from label_desk import desk, judged

    own = desk(tmp_path, 1)
    shown = own.answer({"action": "show", "annotator": "ada"})
    own.answer({"action": "judge", "annotator": "ada", "task": shown["task"], "verdict": "a"})
    (row,) = judged(tmp_path)
    section = PAGE.partition("## The file")[2].partition("##")[0]
    assert all(f"`{name}`" in section for name in row)
    script = (Path(__file__).parents[2] / "src/logratio/label/page.js").read_text(encoding="utf-8")
    keys = dict(re.findall(r"(\w+): \"(a|b|tie|both_bad)\"", script))
    assert keys == {"a": "a", "ArrowLeft": "a", "b": "b", "ArrowRight": "b", "t": "tie", "n": "both_bad"}
