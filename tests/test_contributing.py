"""CONTRIBUTING.md: its examples are applied to a copy of the repository and run as they stand; its gates are one."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from logratio.testing import contract
from small_files import write_model, write_pairs

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SECTIONS = {
    title: BLOCK.findall(body) for title, body in re.findall(r"^## (An? [^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
}
WORKED = [title for title, blocks in SECTIONS.items() if blocks]
GOOD = 'while read -r line; do case "$line" in *good*) echo 1;; *) echo 0;; esac; done\n'


def new_files(title):
    """Yield path and text of the files that a section adds; their first line names them."""
    for kind, body in SECTIONS[title]:
        if kind in ("python", "json"):
            head, _, text = body.partition("\n")
            yield head.removeprefix("# "), text


def patch(title):
    return "".join(body for kind, body in SECTIONS[title] if kind == "diff")


def git_apply(where, text, *options):
    words = ["git", "apply", "--verbose", *options, "-"]
    done = subprocess.run(words, cwd=where, input=text, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_each_of_the_three_is_worked_through():
    assert WORKED == ["An objective", "A judge", "A data format"]
    assert {kind for blocks in SECTIONS.values() for kind, _ in blocks} == {"python", "json", "diff", "bash"}


@pytest.mark.parametrize("title", WORKED)
def test_its_changes_fit_the_repository_as_it_is(title):
    assert not [path for path, _ in new_files(title) if (ROOT / path).exists()]
    git_apply(ROOT, patch(title), "--check")


def test_the_objective_meets_the_contract(tmp_path):
    ((path, text),) = new_files("An objective")
    file = tmp_path / Path(path).name
    file.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(f"logratio.objectives.{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert len(contract(module.OBJECTIVE)) >= 8


def test_the_hooks_before_a_commit_are_the_linters_of_make():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1]
    lines = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.strip().splitlines()]
    assert [hook["entry"] for hook in hooks] == lines
    assert all(hook["language"] == "system" and hook["pass_filenames"] is False for hook in hooks)


@pytest.fixture
def copy(tmp_path):
    """The repository without what git ignores, and the files that the commands name."""
    for name in ("src", "tests", "docs", "recipes", "bench"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "Makefile"):
        shutil.copy(ROOT / name, tmp_path / name)
    write_model(tmp_path / "my-model")
    write_pairs(tmp_path / "pairs.jsonl", 48)
    (tmp_path / "good.sh").write_text(GOOD)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("title", WORKED)
def test_the_commands_of_an_example_run_once_its_changes_are_made(title, copy):
    for path, text in new_files(title):
        (copy / path).write_text(text, encoding="utf-8")
    git_apply(copy, patch(title))
    (commands,) = [body for kind, body in SECTIONS[title] if kind == "bash"]
    for line in commands.splitlines():
        program, _, rest = line.partition(" ")
        words, _, target = rest.partition(" > ")
        done = subprocess.run(
            [sys.executable, "-m", program, *shlex.split(words)],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy / "src")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        if target:
            (copy / target).write_text(done.stdout, encoding="utf-8")
