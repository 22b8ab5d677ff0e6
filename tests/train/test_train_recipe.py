"""The recipe: what wins, what is refused, and what the refusal says."""

import math

import pytest
import yaml

from logratio import objectives
from logratio.config import RunConfig
from logratio.errors import ConfigError
from logratio.train.foreign import EXPLAINED, RENAMED
from logratio.train.keys import ALIASES, keys, sections
from logratio.train.recipe import learning_rate, resolve, to_yaml

LEAST = {"model": "m", "data": "d.jsonl"}


def refused(recipe=None, **overrides):
    with pytest.raises(ConfigError) as caught:
        resolve(LEAST | (recipe or {}), overrides)
    return str(caught.value)


def test_least_recipe_is_dpo_with_the_documented_defaults():
    resolved = resolve(LEAST)
    assert resolved.config.objective.items() >= {"name": "dpo", "beta": 0.1, "label_smoothing": 0.0}.items()
    assert (resolved.config.train.lr, resolved.config.train.batch_size) == (1e-6, 64)
    assert [part.path for part in resolved.config.data] == ["d.jsonl"]
    assert resolved.explicit == {"model", "data"}


def test_defaults_give_way_to_suggestions_then_recipe_then_overrides():
    suggested = objectives.load("kto").suggests["train.lr"]
    assert resolve(LEAST | {"objective": "kto"}).config.train.lr == suggested
    recipe = LEAST | {"objective": "kto", "train": {"lr": 3e-6}}
    assert resolve(recipe).config.train.lr == 3e-6
    assert resolve(recipe, {"train.lr": "4e-6"}).config.train.lr == 4e-6


def test_shorthands_dotted_keys_and_aliases_mean_the_same():
    long = {"objective": {"name": "dpo", "beta": 0.2}, "train": {"lr": 1e-5}, "lora": {"r": 8, "alpha": 16}}
    expected = resolve(LEAST | long).config
    assert resolve(LEAST | {"objective.beta": 0.2, "train.lr": 1e-5, "lora": 8}).config == expected
    assert resolve(LEAST, {"beta": "0.2", "lr": "1e-5", "lora": "8"}).config == expected


def test_an_adapter_comes_and_goes():
    with_adapter = LEAST | {"lora": {"r": 8, "alpha": 64}}
    assert resolve(with_adapter, {"lora": None}).config.lora is None
    assert resolve(with_adapter, {"lora.r": 4}).config.lora.alpha == 64
    assert resolve(with_adapter, {"lora": "none"}).config.lora is None
    assert resolve(LEAST | {"lora": True}).config.lora.r == 16
    assert resolve(LEAST | {"lora": None}, {"lora.r": 4}).config.lora.r == 4


def test_objective_named_on_the_command_line_keeps_shared_settings_of_the_recipe():
    resolved = resolve(LEAST | {"objective": {"name": "dpo", "beta": 0.3}}, {"objective": "kto"})
    assert (resolved.config.objective["name"], resolved.settings.beta) == ("kto", 0.3)


def test_mappings_whose_names_the_person_chooses_are_merged():
    recipe = LEAST | {"rows": {"map": {"chosen": "a.b"}}, "template": {"kwargs": {"enable_thinking": True}}}
    config = resolve(recipe, {"rows.map.rejected": "a.c"}).config
    assert config.rows.map == {"chosen": "a.b", "rejected": "a.c"}
    assert config.template.kwargs == {"enable_thinking": True}


def test_empty_sections_are_harmless(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("model: m\ndata: [a.jsonl, {path: b.jsonl, weight: 2}]\ntrain:\n  # lr: 1e-6\neval:\n")
    config = resolve(path).config
    assert [(part.path, part.weight) for part in config.data] == [("a.jsonl", 1.0), ("b.jsonl", 2.0)]


def test_the_resolved_recipe_gives_the_same_run():
    config = resolve(LEAST | {"objective": "kto", "lora": 8, "tokens.overflow": "truncate"}).config
    assert resolve(yaml.safe_load(to_yaml(config))).config == config


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("objective.beta", 0, ["`objective.beta` is 0", "must be a number > 0", "nothing would be learned", "0.1"]),
        ("objective.label_smoothing", 0.5, ["0.5", "≥ 0 and < 0.5"]),
        ("train.lr", "fast", ['"fast"', "a number > 0"]),
        ("train.lr", math.inf, ["inf", "a number > 0"]),
        ("train.epochs", math.nan, ["nan", "a number > 0"]),
        ("train.batch_size", 2.5, ["2.5", "a whole number > 0", "groups a step"]),
        ("train.warmup", 1, ["≥ 0 and < 1"]),
        ("train.schedule", "cosin", ['"cosin"', "one of constant, linear, cosine"]),
        ("lora.dropout", 0.1, ["equal to 0", "deterministic"]),
        ("lora.targets", {"q": 1}, ["`lora.targets`", "must be text"]),
        ("tokens", 5, ["is a section with the keys max_length, overflow, loss_on"]),
        ("template", None, ["`template.use` is null", "auto, none"]),
        ("data", [], ["a list that is not empty"]),
        ("data", [{"path": "x", "weight": 0}], ["`data.weight` is 0", "a number > 0"]),
        ("data", [{"path": "x", "weigth": 2}], ["did you mean `data.weight`?"]),
        ("output", 2024, ["`output` is 2024", "must be text"]),
    ],
)
def test_a_broken_rule_is_one_sentence_with_value_rule_and_reason(key, value, said):
    message = refused(**{key: value})
    assert "\n" not in message and "pydantic" not in message
    for part in said:
        assert part in message


def test_missing_model_and_data_say_how_to_give_them():
    with pytest.raises(ConfigError) as caught:
        resolve(None)
    assert "`model` is missing" in str(caught.value) and "--data" in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("train.lrr", "train.lr"),
        ("trian.lr", "train.lr"),
        ("batch_sizes", "train.batch_size"),
        ("modle", "model"),
        ("overflw", "tokens.overflow"),
        ("trl.beta", "objective.beta"),
    ],
)
def test_an_unknown_key_names_the_nearest(typed, meant):
    assert f"`{typed}` is not a key here; did you mean `{meant}`?" in refused({typed: 1})


def test_a_setting_of_another_objective_lists_those_of_this_one():
    message = refused({"objective": {"name": "kto", "label_smoothing": 0.1}})
    assert "objective.desirable_weight" in message
    said = refused({"objective": {"name": "sft", "desirable_weight": 2}})
    assert ", but a setting of " in said and "kto; those of" in said and said.endswith("`objective` are: none.")
    assert 'did you mean "dpo"' in refused({"objective": "dpoo"})


def test_every_problem_is_told_at_once():
    assert len(refused({"train": {"lr": -1, "batch_size": 0}, "every": {"eval": 2}}).splitlines()) == 3
    assert len(refused({"learning_rate": 1e-6, "micro_batch_size": 4, "bogus": 1}).splitlines()) == 3


@pytest.mark.parametrize("name", sorted({**RENAMED, **EXPLAINED}))
def test_keys_of_other_tools_are_answered_with_ours(name):
    message = refused({name: 4})
    assert f"`{name}`" in message and "did you mean" not in message


def test_answers_name_keys_that_exist():
    ours = {path for path in keys(RunConfig)} | set(sections(RunConfig)) | {"objective.name"}
    for name in objectives.names():
        ours |= set(keys(objectives.load(name).settings, "objective."))
    assert set(RENAMED.values()) | set(ALIASES.values()) <= ours
    assert not (set(RENAMED) | set(EXPLAINED)) & {path.partition(".")[0] for path in ours}
    assert not set(RENAMED) & set(EXPLAINED)
    for text in EXPLAINED.values():
        for word in text.replace(":", " ").replace(";", " ").replace(",", " ").split():
            head, dot, tail = word.strip("`.()").partition(".")
            if dot and head in sections(RunConfig):
                assert f"{head}.{tail}" in ours or f"{head}.{tail}".startswith("template.kwargs."), text


def test_a_renamed_key_carries_the_value_over():
    assert "write `train.lr: 5e-7`" in refused({"learning_rate": 5e-7})
    assert "write `data: …`" in refused({"datasets": [{"path": "x", "type": "chatml.intel"}]})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"model: m\nmodel: n\n", "'model' is given twice"),
        (b"- a\n- b\n", "holds list"),
        (b"model: [m\n", "is not valid YAML"),
        (b"model: \xff\n", "UTF-8"),
        (b"model: !!python/object:os.system {}\n", "is not valid YAML"),
    ],
)
def test_a_recipe_that_is_none_is_named(tmp_path, content, said):
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as caught:
        resolve(path)
    assert str(path) in str(caught.value)


def test_data_in_the_recipes_place_says_where_it_goes(tmp_path):
    with pytest.raises(ConfigError, match="data is given with --data"):
        resolve(tmp_path / "pairs.jsonl")
    with pytest.raises(ConfigError, match="does not exist"):
        resolve(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("recipe", "parameters", "lora", "rate", "source"),
    [
        ({}, 10**9, False, 1e-6, "default"),
        ({}, 7 * 10**9, False, 5e-7, "from 3B parameters (7.0B here)"),
        ({}, 10**9, True, 1e-5, "× 10 for LoRA"),
        ({}, 7 * 10**9, True, 5e-6, "5e-7, × 10 for LoRA"),
        ({"objective": "kto"}, 7 * 10**9, False, 5e-6, "suggested for kto"),
        ({"train.lr": 1e-6}, 7 * 10**9, True, 1e-6, "given"),
    ],
)
def test_learning_rate_and_its_source(recipe, parameters, lora, rate, source):
    resolved = resolve(LEAST | recipe)
    got, said = learning_rate(resolved.config, resolved.explicit, parameters, lora)
    assert math.isclose(got, rate, rel_tol=1e-12)
    assert source in said


def test_a_rule_across_an_objective_s_settings_is_told_in_its_own_words():
    for given in ({"alpha": 0.3}, {"divergence": "alpha"}, {"alpha": 0.3, "divergence": "js"}):
        with pytest.raises(ConfigError) as caught:
            resolve({"model": "m", "data": "d", "objective": {"name": "dpo", **given}})
        said = str(caught.value)
        assert said.startswith(f"`objective`: alpha is {given.get('alpha')} with divergence"), said
        assert "leave alpha out" in said
