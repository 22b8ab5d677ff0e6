"""Rows → windows: exact means, whatever is missing."""

import json
import math
import statistics

import pytest
from histories import SOUND, START, TRAIN, told, value

from logratio.diagnose.history import About, Digest, Point, history
from logratio.diagnose.run import diagnose, diagnose_run, write_findings
from logratio.errors import RunError


def test_a_window_holds_the_mean_of_its_steps_and_the_evaluation_at_their_end():
    losses = [0.7, 0.5, 0.9, 0.4]
    rows = [{"kind": "eval", "step": 0, "loss": {"mean": 0.69, "low": 0.59, "high": 0.79, "n": 9}}]
    rows += [{"kind": "train", "step": i + 1, "loss": loss, "lr": None, "time": 3.0} for i, loss in enumerate(losses)]
    rows += [{"kind": "eval", "step": 4, "kl": {"mean": None, "n": 0}, "margin_quantiles": {"p05": None, "p95": 1.0}}]
    first, second = history(rows, About()).windows
    assert (first.step, first.steps, first.train) == (0, 0, {})
    assert first.held["loss"] == Point(0.69, pytest.approx(0.1 / 1.96), 9)
    assert second.steps == 4 and set(second.train) == {"loss"} and second.most == {"loss": 0.9}
    expected = statistics.pstdev(losses) / math.sqrt(3)
    assert second.train["loss"] == Point(pytest.approx(0.625), pytest.approx(expected), 4)
    assert second.held == {} and second.quantiles == {"p95": 1.0}


def test_steps_after_the_last_evaluation_wait_for_the_next():
    digest = Digest()
    for row in ({"kind": "eval", "step": 0}, {"kind": "train", "step": 1, "loss": 1.0}):
        digest.add(row)
    assert digest.history(About()).step == 0


def test_accuracy_of_a_policy_that_is_its_reference_is_known_exactly():
    assert told(START, SOUND).held("accuracy")[0][1].se == 0
    assert told(START, SOUND).held("ended")[0][1].se > 0


def test_training_accuracy_of_a_pass_is_exact_and_of_bounded_size_however_many_steps():
    rows = [{"kind": "train", "step": i + 1, "accuracy": float(i % 7 == 0)} for i in range(1000)]
    rows += [{"kind": "eval", "step": 1000}]
    own = history(rows, About(steps=1000))
    assert len(own.fine) <= 256 and [step for step, _ in own.fine][-1] == 1000
    assert own.within("accuracy", 0, 1000).mean == pytest.approx(143 / 1000)
    assert own.within("accuracy", 0, 500).mean == pytest.approx(72 / 500, abs=1e-12)
    assert own.within("accuracy", 996, 999) is None and own.within("loss", 0, 1000) is None
    few = history([{"kind": "train", "step": i + 1, "accuracy": i / 4} for i in range(4)] + rows[-1:], About(steps=4))
    assert few.within("accuracy", 2, 4).mean == pytest.approx((0.5 + 0.75) / 2)


def test_a_run_directory_is_read_and_a_broken_last_line_passed_over(tmp_path):
    with pytest.raises(RunError, match="holds no config.yaml"):
        diagnose_run(tmp_path)
    (tmp_path / "config.yaml").write_text("objective: {name: dpo, beta: 0.1}\ntrain: {lr: 1.0e-6, epochs: 1}\n")
    (tmp_path / "manifest.json").write_text(json.dumps({"steps": 10}))
    rows = [{"kind": "eval", "step": 0, **START}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RunError, match="nothing to compare"):
        diagnose_run(tmp_path)
    rows += [{"kind": "train", "step": i + 1, **TRAIN} for i in range(10)] + [{"kind": "eval", "step": 10, **SOUND}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"kind": "tra')
    found = diagnose_run(tmp_path)
    write_findings(tmp_path, found)
    told_again = json.loads((tmp_path / "findings.json").read_text())
    assert [own["name"] for own in told_again] == [own.name for own in found] and len(found) > 8


def test_a_run_that_was_sick_in_the_middle_says_so_at_its_end(tmp_path):
    (tmp_path / "config.yaml").write_text("objective: {name: dpo, beta: 0.1}\ntrain: {lr: 1.0e-6, epochs: 1}\n")
    (tmp_path / "manifest.json").write_text(json.dumps({"steps": 30}))
    gone = {**SOUND, "repetition": value(0.7, 0.02, 64)}
    rows = [{"kind": "eval", "step": 10 * i, **row} for i, row in enumerate([START, SOUND, gone, SOUND])]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (sick,) = [own for own in diagnose_run(tmp_path) if own.past is not None and own.name == "collapse"]
    assert sick.level == "fine" and (sick.past.level, sick.past.step) == ("stop", 20)
    assert sick.past.sentence.startswith("At step 20 of the run this was stop: 70 % of 4-grams repeat")
    rows = rows[:2] + [{"kind": "eval", "step": 20, **gone}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (now,) = [own for own in diagnose_run(tmp_path) if own.name == "collapse"]
    assert now.level == "stop" and now.past is None  # it was never graver than it is


@pytest.mark.parametrize(
    ("objective", "knob"),
    [({"name": "dpo", "beta": 0.1}, "objective.beta"), ({"name": "ipo", "tau": 0.1}, "objective.tau"), ({}, "")],
)
def test_advice_names_the_key_that_the_objective_has(objective, knob):
    gone = {**SOUND, "repetition": value(0.7, 0.02, 64), "logratio_chosen_per_token": value(-0.4, 0.01)}
    gone |= {"logratio_rejected_per_token": value(-0.9, 0.01), "reward": value(-2.0, 0.1), "margin": value(9.0, 0.1)}
    about = About.of({"objective": objective, "train": {"lr": 1e-3, "epochs": 1}}, 10)
    found = {own.name: own.remedy for own in diagnose(told({**START, "reward": value(0.0, 0.1)}, gone, about=about))}
    for name in ("collapse", "displacement", "overoptimisation"):
        assert "train.lr" in found[name] and "  " not in found[name]
        assert (f"raise {knob}" in found[name]) == bool(knob) and ("raise" in found[name]) == bool(knob)
