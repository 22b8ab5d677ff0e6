"""What reuses reference log-probs, what must not, and what happens when they are wrong."""

import json
import shutil

import numpy as np
import pytest
import small_run

from logratio.data.store import TokenStore
from logratio.errors import ReferenceChoiceError
from logratio.files import read_shard, write_shard
from logratio.logps import checked, names, reference

TEMPLATE = "{% for m in messages %}{{ ' the' if m.role == 'user' else ' a' }}{{ m.content }}{{ eos_token }}{% endfor %}"
GENERATION = "{% if add_generation_prompt %} a{% endif %}"


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Arguments of a run whose reference pass is done, and its cache."""
    folder = tmp_path_factory.mktemp("reference")
    arguments = {**small_run.world(folder), "block": 8}
    until_first_step({**arguments, "cache": folder / "cache"}, folder / "run")
    return arguments, folder / "cache"


@pytest.fixture
def world(filled, tmp_path):
    """The same, with a cache of the test's own."""
    arguments, cache = filled
    shutil.copytree(cache, tmp_path / "cache")
    return arguments, tmp_path / "cache"


def until_first_step(arguments, output):
    """Run until the first step is made; return what was warned of."""
    told = []

    def listen(event):
        if event.kind == "warning":
            told.append(event.data["text"])
        elif event.kind == "train":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small_run.run(**arguments, output=str(output), on_event=listen)
    return told


def shards(cache):
    return {path: path.stat().st_mtime_ns for path in (cache / "reference").rglob("*.shard")}


@pytest.mark.parametrize(
    "change",
    [
        {"objective": {"name": "dpo", "beta": 0.7, "label_smoothing": 0.1}},
        {"train.lr": 1e-5, "train.batch_size": 4, "train.epochs": 2},
        {"train.seed": 5},
        {"eval.holdout": 0.0},
        {"tokens.max_length": 50},
        {"lora": {"r": 2, "alpha": 4}},
    ],
    ids=str,
)
def test_what_changes_no_log_prob_reuses_them(world, tmp_path, change):
    arguments, cache = world
    before = shards(cache)
    assert len(before) == 8
    assert until_first_step({**arguments, "cache": cache, **change}, tmp_path / "run") == []
    assert shards(cache) == before


@pytest.fixture
def scored(monkeypatch):
    """Groups that are scored by the reference: to fill blocks, and to check what is there."""
    counts = {"filled": 0, "checked": 0}

    def counted(kind, real):
        def score(policy, groups, **settings):
            counts[kind] += len(groups)
            return real(policy, groups, **settings)

        return score

    monkeypatch.setattr(reference, "score", counted("filled", reference.score))
    monkeypatch.setattr(checked, "score", counted("checked", checked.score))
    return counts


@pytest.mark.parametrize("of_its_own", [False, True], ids=["start", "path"])
def test_held_out_groups_are_scored_by_the_reference_once_for_all_runs(tmp_path, scored, of_its_own):
    """Those of evaluation data too, of which a run takes some; a few are scored again to check what is cached."""
    arguments = {**small_run.world(tmp_path), "cache": tmp_path / "cache", "eval.samples": 0, "eval.max_groups": 15}
    arguments["eval.data"] = str(small_run.write_rows(tmp_path / "held.jsonl", small_run.pairs(20, seed=1)))
    if of_its_own:
        arguments["reference"] = str(small_run.start_model(tmp_path / "other", seed=1))
    first = small_run.run(**arguments, output=str(tmp_path / "first"))
    assert first.evaluation["accuracy"]["n"] == 15
    assert scored == {"filled": 60 + 15, "checked": 3 + 3}
    changes = {"objective": {"name": "ipo", "tau": 0.4}, "train.lr": 2e-3, "train.seed": 3}
    small_run.run(**{**arguments, **changes}, output=str(tmp_path / "second"))
    assert scored == {"filled": 60 + 15, "checked": 2 * (3 + 3)}


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_a_second_run_names_no_block_anew(tmp_path, monkeypatch, objective):
    """Nor does one with another rate; one that cuts rows elsewhere does, and so does one with borrowed responses."""
    named = []
    plain = names.block_name
    monkeypatch.setattr(names, "block_name", lambda groups: named.append(len(groups)) or plain(groups))
    arguments = {**small_run.world(tmp_path), "cache": tmp_path / "cache", "block": 8, "objective": objective}
    until_first_step(arguments, tmp_path / "first")
    assert sum(named) == (60 if objective == "dpo" else 120)
    del named[:]
    for change in ({}, {"train.lr": 1e-5, "train.seed": 5}):
        assert until_first_step({**arguments, **change}, tmp_path / f"again{len(change)}") == []
    assert named == []
    until_first_step({**arguments, "tokens.max_length": 50}, tmp_path / "shorter")
    assert named
    del named[:]
    until_first_step({**arguments, "objective": "kto" if objective == "dpo" else "dpo"}, tmp_path / "other")
    assert named


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_a_second_run_reads_no_more_rows_of_a_large_data_set_than_of_a_small_one(tmp_path, monkeypatch, objective):
    read = []
    plain = TokenStore.__getitem__
    monkeypatch.setattr(TokenStore, "__getitem__", lambda self, row: read.append(row) or plain(self, row))
    counts = []
    for n in (40, 160):
        (tmp_path / str(n)).mkdir()
        arguments = {**small_run.world(tmp_path / str(n), n=n), "cache": tmp_path / "cache", "block": 8}
        arguments |= {"objective": objective, "eval.holdout": 0.0}
        until_first_step(arguments, tmp_path / f"first{n}")
        del read[:]
        until_first_step(arguments, tmp_path / f"second{n}")
        counts.append(len(read))
    assert counts[0] == counts[1] < 40


def test_a_changed_weight_never_reuses_them(world, tmp_path):
    arguments, cache = world
    before = shards(cache)
    other = small_run.start_model(tmp_path / "other", seed=1)
    until_first_step({**arguments, "cache": cache, "model": str(other)}, tmp_path / "run")
    new = shards(cache).keys() - before.keys()
    assert before.items() <= shards(cache).items()
    assert {path.name for path in new} == {path.name for path in before}  # the same tokens under another identity
    assert {path.parent for path in new}.isdisjoint({path.parent for path in before})


def test_a_copied_model_reuses_them(world, tmp_path):
    arguments, cache = world
    before = shards(cache)
    shutil.copytree(arguments["model"], tmp_path / "copy")
    until_first_step({**arguments, "cache": cache, "model": str(tmp_path / "copy")}, tmp_path / "run")
    assert shards(cache) == before


def test_another_template_never_reuses_them(world, tmp_path):
    arguments, cache = world
    before = shards(cache)
    chat = tmp_path / "chat"
    shutil.copytree(arguments["model"], chat)
    (chat / "chat_template.jinja").write_text(TEMPLATE + GENERATION)
    until_first_step({**arguments, "cache": cache, "model": str(chat)}, tmp_path / "run")
    new = shards(cache).keys() - before.keys()
    assert len(new) == 8
    assert {path.parent for path in new} == {path.parent for path in before}  # the same weights, other tokens
    assert {path.name for path in new}.isdisjoint({path.name for path in before})


def test_a_changed_row_recomputes_its_block_only(world, tmp_path):
    arguments, cache = world
    before = shards(cache)
    rows = small_run.pairs(60)
    rows[20]["chosen"] += " very"
    data = small_run.write_rows(tmp_path / "rows.jsonl", rows)
    until_first_step({**arguments, "cache": cache, "data": str(data)}, tmp_path / "run")
    assert len(shards(cache).keys() - before.keys()) == 1


def test_wrong_log_probs_are_caught_by_the_spot_check_and_made_again(world, tmp_path):
    """A shard that is whole, with the right name and another model's numbers in it."""
    arguments, cache = world
    (folder,) = (cache / "reference").iterdir()
    right = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in folder.iterdir():
        arrays, meta = read_shard(path)
        write_shard(path, {"logp": np.array(arrays["logp"]) - 0.25, "ends": np.array(arrays["ends"])}, meta)
    told = until_first_step({**arguments, "cache": cache}, tmp_path / "run")
    assert told == [
        "cached reference log-probs are off by 0.25 nat (at most 0.001 is rounding); they are computed again."
    ]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == right


def test_a_damaged_block_is_told_in_a_run(world, tmp_path):
    arguments, cache = world
    harmed = sorted(shards(cache))[2]
    whole = harmed.read_bytes()
    harmed.write_bytes(whole[:-64])
    told = until_first_step({**arguments, "cache": cache}, tmp_path / "run")
    assert len(told) == 1 and f"{harmed} is damaged" in told[0]
    assert harmed.read_bytes() == whole


def description(run):
    return json.loads((run / "manifest.json").read_text())["reference"]["description"]


def test_the_manifest_says_what_the_reference_is(world, tmp_path):
    arguments, cache = world
    until_first_step({**arguments, "cache": cache}, tmp_path / "plain")
    assert description(tmp_path / "plain") == f"{arguments['model']} as loaded, before the first step"
    until_first_step({**arguments, "cache": cache, "lora": {"r": 2}}, tmp_path / "lora")
    assert description(tmp_path / "lora") == f"{arguments['model']} with the fresh adapter off"
    other = str(small_run.start_model(tmp_path / "other", seed=3))
    until_first_step({**arguments, "cache": cache, "reference": other}, tmp_path / "path")
    assert description(tmp_path / "path") == f"{other}, a model of its own"


def test_a_loaded_adapter_is_itself_the_reference_unless_base_is_asked_for(world, tmp_path):
    """At step 0 it cannot differ from itself, and does from the weights under it."""
    arguments, cache = world
    quick = {"train.lr": 1e-2, "train.epochs": 0.3, "eval.samples": 0}
    first = small_run.run(**arguments, cache=cache, output=str(tmp_path / "sft"), lora={"r": 4}, **quick)
    again = {**arguments, "model": str(first.model), "cache": cache, "eval.samples": 0}
    said = {
        "start": f"{first.model}: the loaded adapter as it is now, frozen",
        "base": f"{arguments['model']}, the weights under the adapter",
    }
    for choice, expected in said.items():
        until_first_step({**again, "reference": choice}, tmp_path / choice)
        assert description(tmp_path / choice) == expected
        margin = small_run.metrics(tmp_path / choice)[0]["margin"]["mean"]
        assert abs(margin) < 1e-6 if choice == "start" else abs(margin) > 1e-3


def test_a_contradiction_lists_the_choices(world, tmp_path):
    arguments, cache = world
    with pytest.raises(ReferenceChoiceError, match="has none; choose reference: start .* or reference: PATH"):
        small_run.run(**arguments, cache=cache, output=str(tmp_path / "run"), reference="base")
