"""Every recipe is valid, and says whether it was run; the commands of recipes/README.md run in miniature."""

import gzip
import json
import re
import runpy
import shlex
import sys
from itertools import islice
from pathlib import Path

import pytest

from logratio.cli.app import main
from logratio.train.recipe import resolve

RECIPES = Path(__file__).parents[1] / "recipes"
README = (RECIPES / "README.md").read_text(encoding="utf-8")
FILES = sorted(RECIPES.rglob("*.yaml"))
MINIATURE = {
    "python": ["--vocabulary=300", "--hidden=16", "--layers=1"],
    "train": [
        *("--batch-size=8", "--epochs=1", "--every.eval=1"),
        *("--eval.holdout=0.2", "--eval.samples=1", "--eval.max_new_tokens=4"),
    ],
    "eval": ["--samples=2", "--max-new-tokens=4", "--json"],
}


def commands(heading):
    """The commands of one section of the README, as lists of words."""
    section = README.partition(f"\n## {heading}:")[2].partition("\n## ")[0]
    return [shlex.split(line) for line in re.search(r"```bash\n(.*?)```", section, re.DOTALL)[1].splitlines()]


def call(words):
    """Run a command of the README in this process, with the options that make it small."""
    if words[0] == "python":
        sys.argv = [*words[1:], *MINIATURE["python"]]
        runpy.run_path(words[1], run_name="__main__")
        return
    with pytest.raises(SystemExit) as caught:
        main([*words[1:], *MINIATURE[words[1]]])
    assert caught.value.code == 0


@pytest.fixture
def place(tmp_path, monkeypatch, shared_data):
    """A folder as the README describes it, with the shortest rows of a few dozen."""
    (tmp_path / "recipes").symlink_to(RECIPES)
    (tmp_path / "data" / "hh").mkdir(parents=True)
    for split, count in (("train", 24), ("test", 8)):
        with gzip.open(shared_data / "hh-harmless" / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
            short = sorted(islice(lines, 3 * count), key=len)[:count]  # none of them has an empty response
        with gzip.open(tmp_path / "data" / "hh" / f"{split}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(short)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    return tmp_path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(RECIPES).as_posix())
def test_a_recipe_is_valid_and_says_whether_it_was_run(path):
    assert resolve(path).config.output
    said = re.search(r"^# Run by us: (no|yes, \d{4}-\d\d-\d\d, .+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert said, f"{path} does not say whether it was run"


def test_the_readme_names_every_recipe():
    assert {path.relative_to(RECIPES).as_posix() for path in FILES} == set(
        re.findall(r"logratio train recipes/(\S+)", README)
    )


def test_from_nothing_to_an_aligned_model(place, capsys):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for words in commands("hh"):
        capsys.readouterr()
        call(words)
    found = json.loads(capsys.readouterr().out)
    assert found["accuracy"]["n"] == found["length_baseline"]["n"] == 8
    assert 0 <= found["accuracy"]["low"] <= found["accuracy"]["mean"] <= found["accuracy"]["high"] <= 1
    assert found["about"]["reference"].startswith("runs/hh/sft/model")
    model = AutoModelForCausalLM.from_pretrained(place / "runs/hh/dpo/model")
    assert model.config.vocab_size == len(AutoTokenizer.from_pretrained(place / "runs/hh/dpo/model")) == 300


def test_without_imitation_first(place, capsys, shared_data):
    (place / "models").symlink_to(shared_data / "models")
    for words in commands("reviews-7m-dpo"):
        capsys.readouterr()
        call(words)
    found = json.loads(capsys.readouterr().out)
    assert found["accuracy"]["n"] == 8
    assert found["logratio_chosen"]["mean"] != 0
