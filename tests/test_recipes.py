"""Every recipe is valid, says whether it was run and stands in recipes/README.md; most of them train in miniature."""

import gzip
import json
import re
import runpy
import shlex
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from logratio.cli.app import main
from logratio.sweep.study import plan, study_of
from logratio.train.api import run
from logratio.train.keys import shown
from logratio.train.recipe import read, resolve
from train.small_run import metrics, pairs, start_model, write_rows

RECIPES = Path(__file__).parents[1] / "recipes"
README = (RECIPES / "README.md").read_text(encoding="utf-8")
STUDIES = sorted(RECIPES.glob("frontier*.yaml"))
FILES = [path for path in sorted(RECIPES.rglob("*.yaml")) if path not in STUDIES]
OBJECTIVES = sorted((RECIPES / "objectives").glob("*.yaml"))
SAID = re.compile(r"^# Run by us: (no, .+|yes, \d{4}-\d\d-\d\d, .+)$", re.MULTILINE)
HEAD = "| recipe | objective | model | lr | groups a step | epochs | run by us |"
SMALL = {
    "tokens.max_length": 64,
    "train.batch_size": 8,
    "train.precision": "fp32",
    "eval.samples": 0,
    "every.eval": 1.0,
    "every.checkpoint": 1.0,
}
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


def name(path):
    return path.relative_to(RECIPES).as_posix()


def line(path):
    """A recipe as a row of the README's table."""
    found = resolve(path)
    train, aim = found.config.train, found.config.objective
    own = [
        f"{key} {value if isinstance(value, str) else format(value, 'g')}"
        for key, value in list(aim.items())[1:]
        if f"objective.{key}" in found.explicit
    ]
    said = SAID.search(path.read_text(encoding="utf-8"))[1]
    cells = (
        f"[{name(path)}]({name(path)})",
        f"{aim['name']} ({', '.join(own)})" if own else aim["name"],
        found.config.model,
        shown(train.lr) if "train.lr" in found.explicit else "default",
        train.batch_size,
        f"{train.epochs:g}",
        said.partition(",")[0],
    )
    return "".join(f"| {cell} " for cell in cells) + "|"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_recipe_is_valid_and_says_whether_it_was_run(path):
    assert resolve(path).config.output
    assert SAID.search(path.read_text(encoding="utf-8")), f"{path} does not say whether it was run, or why not"


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("path", STUDIES, ids=name)
def test_a_studys_runs_are_valid_and_it_says_whether_it_was_run(path, quick):
    document = read(path)
    planned = plan(document, study_of(document, quick=quick), Path("out"), Path("world"))
    assert len({cell.name for cell in planned.cells}) == len(planned.cells) > 5
    assert SAID.search(path.read_text(encoding="utf-8")) and f"`{name(path)}`" in README


def test_the_readme_lists_every_recipe_as_it_is():
    table = "\n".join((HEAD, "| --- " * HEAD.count(" | ") + "| --- |", *map(line, FILES)))
    assert table in README, f"the table of recipes/README.md should be:\n{table}"


@pytest.mark.parametrize("path", OBJECTIVES, ids=name)
def test_an_objectives_recipe_trains_in_miniature(path, small):
    """Its own settings reach the run: all that is not named in `changes` is in the run's resolved recipe."""
    model, data, output = small
    asked = resolve(path)
    changes = {**SMALL, "model": str(model), "data": data[asked.objective.data == "rankings"], "output": str(output)}
    done = run(resolve(path, {**changes, "eval.data": changes["data"]}))
    kept = asked.explicit - {*changes, "eval.data"}
    written = yaml.safe_load((output / "config.yaml").read_text(encoding="utf-8"))
    config = asked.config.model_dump(mode="json")
    assert asked.config.objective["name"] == path.stem and "objective.name" in kept
    assert {key: at(written, key) for key in kept} == {key: at(config, key) for key in kept}
    assert done.status == "finished" and done.step >= 3
    logged = metrics(output)
    first, last = (
        sum(row[key]["mean"] for key in row if key.startswith("loss")) for row in logged if row["kind"] == "eval"
    )
    assert last < first  # on the rows that it learns from
    weights = [load_file(file) for file in (output / "model").glob("*.safetensors")]  # an adapter's, or all
    assert weights and all(torch.isfinite(weight).all() for file in weights for weight in file.values())


ON_POLICY = sorted((RECIPES / "on-policy").glob("*.yaml"))
FAST = ("grpo", "iterative-dpo")
DRAWN = {"tokens.max_length": 64, "eval.samples": 2, "eval.max_new_tokens": 6, "eval.holdout": 0.2}
"""What of a recipe for fresh responses is made smaller: lengths, and numbers of samples."""


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[] if path.stem in FAST else pytest.mark.slow, id=name(path)) for path in ON_POLICY],
)
def test_a_recipe_for_fresh_responses_runs_in_miniature(path, tmp_path, monkeypatch):
    """Its own settings reach the run; PPO's rollouts are the data of the hybrid."""
    monkeypatch.chdir(RECIPES.parent)
    words = [row["prompt"] for row in pairs(20)]
    data = write_rows(tmp_path / "rows.jsonl", [{"question": text, "answer": "#### 3"} for text in words])
    (tmp_path / "rewards.py").write_text(
        "def score(prompts, responses, rows):\n    return [len(set(r)) for r in responses]\n"
    )
    named = {"model": str(start_model(tmp_path / "start")), "data": str(data), "train.batch_size": 8}

    def small(path, output, **changes):
        asked = resolve(path)
        changes = {**SMALL, **DRAWN, **named, "output": str(output), **changes}
        if asked.config.rollout is not None:
            changes |= {"rollout.k": min(4, asked.config.rollout.k), "rollout.max_new_tokens": 6}
            if not str(asked.config.judge.function).startswith("recipes/"):
                changes["judge"] = f"{tmp_path}/rewards.py:score"
        done = run(resolve(path, changes))
        written = yaml.safe_load((output / "config.yaml").read_text(encoding="utf-8"))
        kept = {key for key in asked.explicit - {*changes} if not key.startswith("judge.")}
        config = asked.config.model_dump(mode="json")
        assert {key: at(written, key) for key in kept} == {key: at(config, key) for key in kept}
        return done

    if path.stem == "hybrid":
        before = small(path.with_name("ppo.yaml"), tmp_path / "ppo")
        named |= {"model": str(before.model), "data": str(before.directory / "rollouts")}
    done = small(path, tmp_path / "run")
    assert done.status == "finished" and done.step >= 2
    if path.stem != "hybrid":
        assert done.evaluation["reward"]["n"] == 2
        assert len(list((done.directory / "rollouts").iterdir())) >= 1
    rounds = [place.name for place in sorted(done.directory.glob("rounds/*"))]
    assert rounds == (["01", "02", "03"] if path.stem in ("iterative-dpo", "sppo") else [])


def at(config, key):
    for part in key.split("."):
        config = config[part]
    return config


@pytest.fixture
def small(tmp_path):
    """A small model, rows of pairs and of rankings (index 1), and where the run goes."""
    rows = pairs(24)
    ranked = [
        {"prompt": row["prompt"], "responses": [row["chosen"], row["rejected"], row["prompt"]], "scores": [2, 0, 1]}
        for row in rows
    ]
    data = [str(write_rows(tmp_path / f"{i}.jsonl", made)) for i, made in enumerate((rows, ranked))]
    return start_model(tmp_path / "start"), data, tmp_path / "run"


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
