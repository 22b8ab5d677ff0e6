"""The checks in the first steps of a run, which read the run's own numbers."""

import small_run
import torch
from preflight_runs import DURING, during
from safetensors.torch import save_file

from logratio.train import checkpoint
from logratio.train.preflight.steps import reloaded


def test_the_first_steps_of_a_healthy_run_pass(tmp_path):
    found, stopped = during(tmp_path, **{"train.epochs": 4.0})
    assert stopped is None and set(found) == DURING
    assert {each["level"] for each in found.values()} == {"fine"}
    assert found["loss_fell"]["figures"]["steps"] == 20
    assert found["loss_fell"]["figures"]["loss_last"] < found["loss_fell"]["figures"]["loss_first"]


def test_weights_that_do_not_move_stop_the_run_after_two_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: None)
    found, stopped = during(tmp_path)
    assert found["parameters_moved"]["level"] == "stop" and "No trained weight moved within 2 steps" in stopped
    assert len([row for row in small_run.metrics(tmp_path / "run") if row["kind"] == "train"]) == 2


def test_updates_that_are_rounded_away_stop_the_run(tmp_path, monkeypatch):
    """Masters that are no better than bfloat16 lose what a small rate does to them."""
    unplanted = torch.optim.AdamW.step

    def rounded(self):
        weights = [weight for group in self.param_groups for weight in group["params"]]
        before = [weight.data.clone() for weight in weights]
        unplanted(self)
        for weight, was in zip(weights, before, strict=True):
            weight.data = torch.where(weight.data.bfloat16() == was.bfloat16(), was, weight.data)

    monkeypatch.setattr(torch.optim.AdamW, "step", rounded)
    monkeypatch.setattr("logratio.train.preflight.steps.MOVED", 99)
    found, stopped = during(tmp_path, **{"train.lr": 1e-7, "train.precision": "bf16"})
    assert found["updates_kept"]["level"] == "stop" and found["updates_kept"]["figures"]["rounded_away_share"] > 0.95
    assert stopped is not None and "lost to rounding" in stopped


def test_a_checkpoint_that_is_not_what_was_saved_is_found(tmp_path, monkeypatch):
    def halved(tensors, path):
        save_file(
            {name: value.bfloat16() if value.is_floating_point() else value for name, value in tensors.items()}, path
        )

    monkeypatch.setattr(checkpoint, "save_file", halved)
    found, stopped = during(tmp_path)
    assert found["checkpoint_reload"]["level"] == "stop" and "differs from what was saved" in stopped


def test_a_checkpoint_that_lost_a_tensor_or_cannot_be_read_is_found(tmp_path):
    tensors = {"weight/a": torch.ones(3), "weight/b": torch.zeros(2)}
    save_file({"weight/a": tensors["weight/a"]}, tmp_path / checkpoint.STATE)
    assert reloaded(tmp_path, tensors).level == "stop" and "weight/b" in reloaded(tmp_path, tensors).says
    save_file(tensors, tmp_path / checkpoint.STATE)
    assert reloaded(tmp_path, tensors).level == "fine"
    (tmp_path / checkpoint.STATE).unlink()
    assert reloaded(tmp_path, tensors).level == "stop"


def test_a_rate_of_which_float32_holds_nothing_stops_the_run(tmp_path):
    found, stopped = during(tmp_path, **{"train.lr": 1e-30, "train.epochs": 2.0})
    assert found["updates_kept"]["level"] == "stop" and "lost to rounding" in stopped
    assert found["loss_fell"]["level"] != "fine"


def test_a_resumed_run_had_its_checks(tmp_path):
    arguments = {**small_run.world(tmp_path), "output": tmp_path / "run", "preflight": True}
    small_run.run(**arguments, stop_at=("train", 3, ["SIGTERM"]))
    before = (tmp_path / "run" / "preflight.json").read_text()
    events = []
    small_run.run(**{**arguments, "resume": "auto"}, on_event=events.append)
    assert not [event for event in events if event.kind == "preflight"]
    assert (tmp_path / "run" / "preflight.json").read_text() == before
