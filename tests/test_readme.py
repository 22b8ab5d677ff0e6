"""README's blocks are run as they stand, on a tiny model and tiny files that bear the names used there."""

import contextlib
import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from logratio.cli.app import main
from logratio.train.recipe import resolve
from small_files import write_model, write_pairs

ROOT = Path(__file__).parents[1]
REWARDS = """def score(prompts, responses, rows):
    return [float(text.count("good")) for text in responses]
"""
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def blocks(language):
    return [body for kind, body in BLOCKS if kind == language]


def lines(program):
    """Return every command line of README that calls `program`, comments cut off."""
    found = [shlex.split(line, comments=True) for body in blocks("bash") for line in body.splitlines()]
    return [words[1:] for words in found if words and words[0] == program]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder holding what README's commands name."""
    folder = tmp_path_factory.mktemp("readme")
    write_model(folder / "my-model")
    write_pairs(folder / "pairs.jsonl", 96)
    for seed, name in enumerate(("more.jsonl", "held-out.jsonl", "other-texts.jsonl"), 1):
        write_pairs(folder / name, 16, seed)
    (folder / "recipe.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    asked = [{"prompt": f"Review the plot of film{n} :"} for n in range(12)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked), encoding="utf-8")
    (folder / "rewards.py").write_text(REWARDS, encoding="utf-8")
    return folder


def test_the_two_make_commands_come_first_and_exist():
    assert BLOCKS[0][0] == "bash" and lines("make") == [["quickstart"], ["test"]]
    for words in lines("make"):
        assert subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True).returncode == 0


def test_every_block_is_of_a_kind_that_is_run_here():
    assert {kind for kind, _ in BLOCKS} == {"bash", "json", "text", "yaml", "python"}
    programs = {shlex.split(line)[0] for body in blocks("bash") for line in body.splitlines() if line}
    assert programs == {"make", "logratio", "torchrun"}


def test_the_recipe_is_valid(place, monkeypatch):
    monkeypatch.chdir(place)
    assert resolve(place / "recipe.yaml").config.lora.r == 8


def test_commands_and_python_run_in_order(place, monkeypatch):
    monkeypatch.chdir(place)
    with open("pairs.jsonl", "a", encoding="utf-8") as file:
        file.write(blocks("json")[0])
    for words in lines("logratio"):
        told = io.StringIO()
        with contextlib.redirect_stdout(told), pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 0, (words, told.getvalue())
    for body in blocks("python"):
        exec(compile(body, "README.md", "exec"), {})
    for made in ("runs/first/report.html", "runs/second/config.yaml", "merged/model.safetensors", "runs/python/model"):
        assert (place / made).exists()


def test_what_a_run_says_is_quoted_truly(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit):
        main(["train", "--model", "my-model", "--data", "pairs.jsonl", "--output", "quoted"])
    told = capsys.readouterr().out.replace("quoted", "runs/first")
    for line in blocks("text")[0].splitlines():
        words = re.split(r"\d[\d.e-]*|…", line)  # figures differ from run to run
        assert any(_in_order(words, said) for said in told.splitlines()), line


def _in_order(words, line):
    at = 0
    for word in words:
        at = line.find(word, at)
        if at < 0:
            return False
        at += len(word)
    return True


@pytest.mark.slow
def test_several_processes(place):
    for words in lines("torchrun"):
        torchrun = [sys.executable, "-m", "torch.distributed.run"]
        done = subprocess.run([*torchrun, *words], cwd=place, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    assert (place / "runs" / "third" / "model").is_dir()
