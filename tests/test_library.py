"""The library: its names, their doctests, and the examples of docs/library.md, which are run as they stand."""

import doctest
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

import logratio
from logratio.files import read_rows
from logratio.models.load import load_model
from small_files import write_model, write_pairs

ROOT = Path(__file__).parents[1]
DOCTESTED = ("batch.packed", "data.api", "logps.policy", "logps.reference", "objectives", "objectives.total")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder holding what the examples name."""
    folder = tmp_path_factory.mktemp("library")
    write_model(folder / "my-model")
    write_pairs(folder / "pairs.jsonl", 64)
    return folder


@pytest.fixture(scope="module")
def known(place):
    """What the doctests are about: a model that is there, and groups."""
    loaded = load_model(str(place / "my-model"))
    groups = logratio.tokenize(str(place / "pairs.jsonl"), loaded.tokenizer)
    return {
        "model": loaded.model,
        "tokenizer": loaded.tokenizer,
        "policy": logratio.Policy(loaded.model),
        "groups": groups,
    }


@pytest.mark.parametrize("module", DOCTESTED)
def test_doctests_hold(module, known):
    done = doctest.testmod(import_module(f"logratio.{module}"), extraglobs=known)
    assert done.attempted and not done.failed


def test_every_public_name_can_be_imported_and_is_described():
    for name in logratio.__all__:
        assert inspect.getdoc(getattr(logratio, name)), name
    assert set(logratio.__all__) <= set(dir(logratio))


EXAMPLES = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs" / "library.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
)
TRAIN = {"batch_size": 16, "lr": 1e-3, "schedule": "constant", "warmup": 0.0}


def losses_of_train(objective):
    """What `logratio train` records of the same objective on the same batches."""
    quiet = {"eval.holdout": 0, "eval.samples": 0, "every.eval": 1.0, "every.checkpoint": 1.0}
    run = logratio.train(
        "my-model", "pairs.jsonl", objective, output=objective["name"], preflight=False, train=TRAIN, **quiet
    )
    return [row["loss"] for row in read_rows(run.directory / "metrics.jsonl") if row["kind"] == "train"]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_short(example):
    assert len(example.splitlines()) <= 40


def test_an_own_loop_has_the_losses_of_train(place, monkeypatch):
    monkeypatch.chdir(place)
    own = {}
    exec(compile(EXAMPLES[0], "docs/library.md", "exec"), own)
    known = losses_of_train({"name": "dpo", "beta": 0.1})
    assert len(known) == 4 and len(set(known)) == 4
    assert own["losses"] == pytest.approx(known, abs=1e-5)
    assert (place / "aligned" / "model.safetensors").is_file()


def test_the_trainer_has_the_losses_of_train(place, monkeypatch):
    monkeypatch.chdir(place)
    own = {}
    exec(compile(EXAMPLES[1], "docs/library.md", "exec"), own)
    logged = [float(row["loss"]) for row in own["trainer"].state.log_history if "loss" in row]
    known = losses_of_train({"name": "simpo", "beta": 2.5})
    assert len(set(known)) == 4 and logged == pytest.approx(known, abs=1e-4)
