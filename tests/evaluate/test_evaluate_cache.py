"""Reference log-probs that runs and evaluations share, and those that must not be shared."""

import pytest
from small_models import model, nudged, pairs, save, word_tokenizer

from logratio import evaluate, train
from logratio.config import LoraConfig
from logratio.logps import reference
from logratio.logps.reference import ReferenceCache
from logratio.models.load import load_model
from logratio.models.save import save_model

ROWS = pairs(30)
QUICK = {"train.lr": 1e-3, "train.batch_size": 8, "eval.samples": 0, "tokens.max_length": 64, "every.eval": 1.0}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "reference"


@pytest.fixture
def filled(monkeypatch):
    """Numbers of groups that were scored to fill a cache."""
    counts, real = [], reference.score
    monkeypatch.setattr(reference, "score", lambda p, groups, **k: counts.append(len(groups)) or real(p, groups, **k))
    return counts


def same(one, other):
    names = ("margin", "logratio_chosen", "logratio_rejected", "accuracy")
    return all(one[name]["mean"] == pytest.approx(other[name]["mean"], abs=1e-5) for name in names)


@pytest.mark.parametrize("recipe", [{}, {"lora": {"r": 2, "alpha": 4}}, {"reference": "PATH"}], ids=str)
def test_what_a_run_computed_of_its_reference_is_not_computed_again_to_evaluate_it(tmp_path, filled, recipe):
    folder = save(model(), tmp_path / "start")
    if "reference" in recipe:
        recipe = {"reference": str(save(nudged(model(), 0.1), tmp_path / "other"))}
    quick = {**QUICK, "preflight": False}  # which would score four groups by themselves
    run = train(str(folder), pairs(40, seed=1), eval_data=ROWS, output=tmp_path / "run", **quick, **recipe)
    assert filled == [40, 30]
    again = evaluate(run.directory, data=ROWS, samples=0)
    assert filled == [40, 30]
    assert same(again, run.evaluation)
    evaluate(run.directory, data=pairs(10, seed=2), samples=4, retain=[{"text": row["chosen"]} for row in ROWS[:7]])
    assert filled == [40, 30, 10, 7]


def test_the_weights_under_an_adapter_are_the_reference_that_they_are_by_themselves(tmp_path, filled):
    base, adapter = save(model(), tmp_path / "base"), tmp_path / "adapter"
    fresh = load_model(str(base), lora=LoraConfig(r=2))
    nudged(fresh.model.base_model.model.model.layers[0].mlp.up_proj.lora_B, 0.5)
    save_model(fresh, word_tokenizer(), adapter)
    by_adapter = evaluate(str(adapter), data=ROWS, samples=0)
    assert filled == [30] and by_adapter["about"]["reference"].endswith("the weights under the adapter")
    by_name = evaluate(str(adapter), data=ROWS, samples=0, reference=str(base))
    assert filled == [30] and same(by_adapter, by_name)


def test_other_weights_are_never_taken_for_them(tmp_path, filled):
    policy, start = save(model(), tmp_path / "policy"), save(nudged(model(), 0.05), tmp_path / "start")
    first = evaluate(str(policy), data=ROWS, samples=0, reference=str(start))
    save(nudged(model(), 0.05, seed=2), start)
    second = evaluate(str(policy), data=ROWS, samples=0, reference=str(start))
    assert filled == [30, 30] and not same(first, second)


def test_a_model_in_memory_may_have_changed_since_so_nothing_of_it_is_kept(tmp_path, cache, filled):
    policy = save(model(), tmp_path / "policy")
    other = load_model(str(policy))
    evaluate(str(policy), data=ROWS, samples=0, reference=other)
    nudged(other.model, 0.05)
    moved = evaluate(str(policy), data=ROWS, samples=0, reference=other)
    assert abs(moved["margin"]["mean"]) > 1e-3
    assert filled == [] and not cache.exists()


def test_wrong_numbers_are_told_and_computed_again(tmp_path, filled, monkeypatch):
    policy, start = save(model(), tmp_path / "policy"), save(nudged(model(), 0.05), tmp_path / "start")
    right = evaluate(str(policy), data=ROWS, samples=0, reference=str(start))
    real = ReferenceCache.of
    monkeypatch.setattr(ReferenceCache, "of", lambda policy, weights: real(policy, "always the same"))
    evaluate(str(policy), data=ROWS, samples=0, reference=str(policy))
    told = evaluate(str(policy), data=ROWS, samples=0, reference=str(start))
    assert filled == [30, 30, 30] and same(told, right)
    assert any("cached reference log-probs are off by" in line for line in told["about"]["rows"])
