"""From `KEY=VALUE,VALUE` to checked runs: what is read, how runs are called, what is refused and how."""

from pathlib import Path

import pytest

from logratio.errors import ConfigError
from logratio.sweep.grid import axes, cells

RECIPE = {"model": "no/such-model", "data": "no-data.jsonl"}


def planned(*grids, recipe=RECIPE, **overrides):
    return cells(recipe, overrides, axes(grids), Path("out"))


def refused(*grids, recipe=RECIPE, **overrides):
    with pytest.raises(ConfigError) as caught:
        planned(*grids, recipe=recipe, **overrides)
    return str(caught.value).splitlines()


def test_the_product_of_the_grids_is_planned_the_last_key_changing_fastest():
    found = planned("beta=0.05,0.5", "train.lr=1e-6,5e-6", **{"train.epochs": 2})
    settings = [(cell.resolved.config.objective["beta"], cell.resolved.config.train.lr) for cell in found]
    assert settings == [(0.05, 1e-6), (0.05, 5e-6), (0.5, 1e-6), (0.5, 5e-6)]
    assert all(cell.resolved.config.train.epochs == 2 for cell in found)
    assert [cell.name for cell in found][:2] == ["beta-0.05_lr-1e-6", "beta-0.05_lr-5e-6"]
    assert found[1].values == {"objective.beta": "0.05", "train.lr": "5e-6"}
    assert found[1].resolved.config.output == "out/beta-0.05_lr-5e-6"
    assert {"train.lr", "objective.beta"} <= found[1].resolved.explicit


@pytest.mark.parametrize(
    ("grid", "names"),
    [
        ("objective=dpo,ipo", ["objective-dpo", "objective-ipo"]),
        ("objective.name=dpo,ipo", ["objective-dpo", "objective-ipo"]),
        ("train.seed=0,1", ["seed-0", "seed-1"]),
        ("lora.r=4,8", ["r-4", "r-8"]),
        ("lora=4,null", ["lora-4", "lora-null"]),
        ("lora.targets=all-linear,[q_proj, v_proj]", ["targets-all-linear", "targets-q-proj-v-proj"]),
        ("model=a/base,b/other@main", ["model-base", "model-other-main"]),
        ("model=a/same,b/same", ["model-same", "model-same-"]),
        ("train.checkpointing=true,false", ["checkpointing-true", "checkpointing-false"]),
    ],
)
def test_a_run_is_called_by_what_it_has_of_each_key(grid, names):
    found = planned(grid)
    assert [cell.name[: len(name)] for cell, name in zip(found, names, strict=True)] == names
    assert len({cell.name for cell in found}) == len(found)


def test_one_value_has_one_name_however_it_is_written():
    assert [cell.name for cell in planned("train.lr=0.000001")] == [cell.name for cell in planned("lr=1e-6")]


def test_values_that_six_digits_do_not_tell_apart_have_names_of_their_own():
    assert len({cell.name for cell in planned("beta=0.12345678,0.12345679")}) == 2


def test_an_objectives_own_suggestions_hold_in_its_runs_only():
    dpo, orpo = planned("objective=dpo,orpo")
    assert dpo.resolved.objective is not orpo.resolved.objective
    assert orpo.resolved.config.objective["name"] == "orpo"


@pytest.mark.parametrize(
    ("grids", "said"),
    [
        ((), "a sweep needs at least one --grid KEY=VALUE,VALUE"),
        (("objective.beta",), '--grid "objective.beta" is not KEY=VALUE,VALUE'),
        (("objective.beta=",), '--grid "objective.beta=" is not KEY=VALUE,VALUE'),
        (("beta=0.1,,0.2",), "is not KEY=VALUE,VALUE"),
        (("beta=0.1", "objective.beta=0.2"), "`objective.beta` is given in two grids; put all its values into one."),
        (("lora.targets=[q_proj",), "is not valid YAML; check its brackets"),
        (("output=a,b",), "--grid output is no difference between runs"),
        (("beta=0.1,0.10",), "two runs of the grid would be the same: `objective.beta` 0.1 and 0.10; give each"),
        (("lr=1e-6,0.000001",), "two runs of the grid would be the same: `train.lr` 1e-6 and 0.000001"),
        (("objective.betta=0.1,0.2",), "`objective.betta` is not a key here; did you mean `objective.beta`?"),
        (("train.lr=fast,1e-6",), '`train.lr` is "fast", but must be a number > 0'),
        (("objective=dpo,ippo",), 'objective "ippo" does not exist'),
        (("learning_rate=1e-5,1e-6",), "write `train.lr: "),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_remedy(grids, said):
    assert any(said in line for line in refused(*grids))


def test_every_problem_is_told_once_with_the_values_that_have_it():
    lines = refused("objective.beta=0,0.1,0.2", "train.lr=1e-6,2e-6,-1")
    assert len(lines) == 2
    assert lines[0].startswith("`objective.beta` is 0, but must be a number > 0") and lines[0].endswith(
        "(at objective.beta=0)"
    )
    assert lines[1].startswith("`train.lr` is -1") and lines[1].endswith("(at train.lr=-1)")
    (line,) = refused("beta=0.1,0.2", **{"train.epochs": 0})
    assert line.startswith("`train.epochs` is 0") and "(at " not in line


def test_a_setting_that_one_of_the_objectives_lacks_is_refused_and_not_passed_over():
    lines = refused("objective=dpo,ipo", "objective.beta=0.1,0.2")
    assert len(lines) == 1 and "`objective.beta` is not a key here, but a setting of" in lines[0]
    assert lines[0].endswith("(at objective=ipo)")


def test_a_key_given_to_all_runs_and_in_the_grid_is_a_contradiction_but_a_recipes_is_overruled():
    (line,) = refused("objective.beta=0.1,0.2", beta="0.3")
    assert line.startswith("`objective.beta` is given both in --grid and by --objective.beta")
    found = planned("beta=0.1,0.2", recipe={**RECIPE, "objective": {"name": "dpo", "beta": 0.3}})
    assert [cell.resolved.config.objective["beta"] for cell in found] == [0.1, 0.2]
