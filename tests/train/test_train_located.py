"""Real runs, full and with an adapter: what their margins imply, what they learned, and where it lies."""

import json

import pytest
from small_run import pairs, run, start_model

from logratio.errors import RunError
from logratio.evaluate.learned import learned
from logratio.evaluate.where import where


@pytest.fixture(scope="module", params=["full", "lora", "simpo"])
def made(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    settings = {
        "full": {},
        "lora": {"lora": {"r": 4, "alpha": 8}, "train.lr": 1e-2},
        "simpo": {"objective": {"name": "simpo"}, "train.precision": "bf16"},
    }[request.param]
    start = start_model(folder / "start", tied=request.param != "lora")
    run(model=str(start), data=pairs(200), output=folder / "run", **settings)
    return folder / "run"


def evaluation(run):
    return json.loads((run / "evaluation.json").read_text())


def test_the_margin_that_is_located_is_the_one_that_was_evaluated(made):
    if "simpo" in str(made):
        with pytest.raises(RunError, match="margin against a reference"):
            where(made)
        return
    change, cost = where(made)
    document = json.loads((made / "where.json").read_text())
    assert document["margin"]["mean"] == pytest.approx(evaluation(made)["margin"]["mean"], rel=1e-3)
    assert cost.figures["left_when_all_restored"] == pytest.approx(0, abs=1e-7)
    assert change.figures["relative_change"] > 0


def test_an_adapter_changes_what_it_was_put_on_and_nothing_else(made):
    where(made, data=pairs(50, seed=1) if "simpo" in str(made) else None)
    own = json.loads((made / "where.json").read_text())["weights"]
    still = {module for modules in own.values() for module, values in modules.items() if values["change"] == 0}
    if "lora" in str(made):
        assert "embed_tokens" in still and "input_layernorm" in still and "self_attn.q_proj" not in still
    else:
        assert not still


def test_calibration_is_in_every_evaluation_and_at_the_end(made):
    found, rows = evaluation(made), (made / "metrics.jsonl").read_text().splitlines()
    evaluations = [row for row in map(json.loads, rows) if row["kind"] == "eval"]
    for name in ("brier", "ece", "overconfidence"):
        assert found[name] == evaluations[-1][name]
    assert found["calibration"] == evaluations[-1]["calibration"]
    parts = found["calibration"]
    total = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within"]
    assert found["brier"]["mean"] == pytest.approx(total, abs=1e-6)
    if "simpo" not in str(made):
        assert evaluations[0]["brier"]["mean"] == pytest.approx(0.25, abs=1e-4)  # nothing is known at step 0
        assert found["brier"]["mean"] < 0.25


def test_what_was_learned_is_read_off_the_run(made):
    if "simpo" in str(made):
        with pytest.raises(RunError, match="objective that has a margin"):
            learned(made)
        return
    (found,) = learned(made)
    assert found.figures["pairs"] == len((made / "pairs.jsonl").read_text().splitlines())
    assert json.loads((made / "learned.json").read_text())["findings"][0]["says"] == found.says


def test_an_objective_that_implies_no_probability_says_why(tmp_path):
    start = start_model(tmp_path / "start")
    run(model=str(start), data=pairs(40), output=tmp_path / "run", objective={"name": "hinge"})
    found = evaluation(tmp_path / "run")
    assert "ece" not in found and "slope" in found["calibration"]["why_not"]
