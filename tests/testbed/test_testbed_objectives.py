"""Every objective on text: it learns what it is given in miniature, and the true reward in the nano world."""

import itertools
import json

import pytest

from logratio import objectives
from logratio.lab.cells import cell
from logratio.lab.entries import entries
from logratio.lab.regimes import regimes
from logratio.testbed.build import build
from logratio.testbed.measure import answers
from logratio.testbed.trial import aim, rows_for, trial
from logratio.train.api import train

CORE = (
    "sft",
    "dpo",
    "robust_dpo",
    "ipo",
    "ipo_mean",
    "kto",
    "simpo",
    "orpo",
    "cpo",
    "slic",
    "rrhf",
    "length_dpo",
    "dpo_norm",
    "unlikelihood",
    "plackett_luce",
)


OFFLINE = [name for name in objectives.names() if objectives.load(name).data != "prompts"]
"""Those that learn from rows; the others draw their responses, and a judge scores them."""


@pytest.mark.parametrize("name", OFFLINE)
def test_it_fits_the_rows_that_it_is_given(name, nano, tmp_path):
    """The loss on its own 48 rows falls in 12 steps."""
    rows = list(itertools.islice(rows_for(nano, name), 48))
    goal = aim(name)
    train(
        nano.model,
        rows,
        goal.objective,
        eval_data=rows,
        output=tmp_path / "run",
        train={"lr": 2 * goal.lr, "epochs": 4, "batch_size": 16, "precision": "fp32"},
        eval={"samples": 0},
        every={"eval": 1.0, "checkpoint": 1.0},
        **{"rows.skip_bad_rows": True},
    )
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    first, last = (row["loss"]["mean"] if "loss" in row else total(row) for row in logged if row["kind"] == "eval")
    assert last < first


def total(row):
    return sum(row[key]["mean"] for key in row if key.startswith("loss_"))


@pytest.mark.slow
@pytest.mark.parametrize("name", CORE)
def test_a_core_objective_raises_the_true_reward(name, worlds, tmp_path):
    """Over three worlds together the 95 % interval of the change is above 0."""
    changes = []
    for seed in range(3):
        built, before = worlds(seed)
        done = trial(built, before, rows_for(built, name), output=tmp_path / str(seed), goal=aim(name))
        changes.append(done.measures["change"])
    mean = sum(change.mean for change in changes) / 3
    error = sum(change.se**2 for change in changes) ** 0.5 / 3
    assert mean - 1.96 * error > 0, changes


EXCUSED = ("apo_down", "discopop", "dpop")
"""These do not raise the true reward: from the reference, what they ask for is not the order of the labels."""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*OFFLINE} - {*CORE, *EXCUSED, "reward"}))
def test_the_other_objectives_raise_the_true_reward(name, worlds, tmp_path):
    built, before = worlds(0)
    done = trial(built, before, rows_for(built, name), output=tmp_path / "run", goal=aim(name))
    assert done.measures["change"].low > 0, done.measures["change"]


@pytest.mark.parametrize("name", EXCUSED)
def test_an_excuse_is_what_the_laboratory_finds(name):
    """Clean labels, unlimited data, every policy: fewer than half of the pairs end in the order of the reward."""
    (row,) = entries((name,))
    assert cell(row, regimes()["clean"]).order < 0.5


@pytest.fixture(scope="module")
def worlds(nano, tmp_path_factory):
    """The nano world of a seed, and its reference's answers."""
    made = {}

    def of(seed):
        if seed not in made:
            root = nano.folder.parent
            built = nano if seed == 0 else build("nano", seed, root=root)
            made[seed] = built, answers(built, built.model, seed=seed + 1)
        return made[seed]

    return of
