"""A study's recipe: its runs, their names, and what is refused before the first one starts."""

import pytest

from logratio.errors import ConfigError
from logratio.sweep.study import placed, plan, setting_of, study_of
from sweep.study_files import study


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    return study(tmp_path_factory.mktemp("study"))


def changed(document, **changes):
    return {**document, "study": {**document["study"], **changes}}


def planned(document, folder="out", **how):
    from pathlib import Path

    return plan(document, study_of(document, **how), Path(folder))


def test_runs_are_methods_times_settings_times_seeds(document):
    cells = planned(document).cells
    assert [cell.name for cell in cells] == [
        *("dpo_beta-0.1_seed-0", "dpo_beta-0.1_seed-1", "dpo_beta-1_seed-0", "dpo_beta-1_seed-1"),
        *("preferred-ft_seed-0", "preferred-ft_seed-1"),
    ]
    configs = [cell.resolved.config for cell in cells]
    assert [(c.objective["name"], c.objective.get("beta"), c.train.seed) for c in configs][1:5:3] == [
        ("dpo", 0.1, 1),
        ("sft", None, 0),
    ]
    assert [config.train.lr for config in configs[3:5]] == [1e-2, 2e-2]
    assert configs[0].output == "out/dpo_beta-0.1_seed-0"
    assert [setting_of(cell.values) for cell in cells[3:5]] == ["beta 1", ""]


def test_the_short_form_replaces_what_it_names(document):
    variants = [*document["study"]["variants"][:1], {**document["study"]["variants"][1], "quick": False}]
    short = changed(document, variants=variants, quick={"seeds": [7], "samples": 8})
    assert [cell.name for cell in planned(short, quick=True).cells] == ["dpo_beta-0.1_seed-7", "dpo_beta-1_seed-7"]
    shorter = changed(short, variants=[{**variants[0], "quick": {"objective.beta": [1]}}, variants[1]])
    assert [cell.name for cell in planned(shorter, quick=True).cells] == ["dpo_beta-1_seed-7"]
    assert len(planned(shorter).cells) == len(planned(short).cells)
    assert len(planned(short).cells) == 6
    with pytest.raises(ConfigError, match=r"no study\.quick"):
        study_of(document, quick=True)


def test_paths_of_the_world_and_of_shared_runs_are_filled_in(document):
    places = {"world": "/w", "shared/scorer": "out/scorer"}
    tree = {"model": "world/model", "judge": {"reward_model": "shared/scorer"}, "data": [{"path": "worldly.jsonl"}]}
    assert placed(tree, places) == {
        "model": "/w/model",
        "judge": {"reward_model": "out/scorer"},
        "data": [{"path": "worldly.jsonl"}],
    }
    shared = [{"name": "scorer", "recipe": {"objective": "reward"}}]
    built = [{"name": "on it", "recipe": {"model": document["model"], "rows": {"map": {"prompt": "shared/scorer"}}}}]
    made = planned(changed(document, shared=shared, variants=built))
    assert [cell.name for cell in made.shared] == ["scorer"]
    assert made.cells[0].resolved.config.rows.map == {"prompt": "out/scorer"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"variants": []}, r"study\.variants"),
        ({"judge": None}, r"study\.judge"),
        ({"seed": 3}, r"study\.seed"),
        ({"variants": [{"name": "A"}, {"name": "A"}]}, 'two variants of the study are called "A"'),
        ({"variants": [{"name": "A", "grid": {"objective.betta": [1]}}]}, r"did you mean `objective.beta`.*\(at a_"),
        ({"variants": [{"name": "A", "grid": {"objective.beta": [0]}}]}, r"beta-0_seed-0"),
        ({"variants": [{"name": "A", "recipe": {"eval": {"samples": 3}}}, {"name": "B"}]}, "`eval.samples` differs"),
        ({"variants": [{"name": "A", "recipe": {"eval": {"data": None}}}]}, "a study needs eval.data"),
    ],
)
def test_what_could_not_be_compared_is_refused(document, changes, said):
    with pytest.raises(ConfigError, match=said):
        planned(changed(document, **changes))


def test_a_judge_that_compares_is_refused_and_one_that_scores_is_not(document):
    server = {"url": "http://localhost:9/v1", "model": "m"}
    with pytest.raises(ConfigError, match=r"^`study\.judge` is .* form: compare, .* write form: score .*\.$"):
        study_of(changed(document, judge=server))
    assert study_of(changed(document, judge={**server, "form": "score"})).judge.form == "score"


def test_a_recipe_without_a_study_has_none(document):
    assert study_of({"model": "m"}) is None
