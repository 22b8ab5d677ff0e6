"""`train` from Python: names, loaded models, data sets, iterables, listeners; and what every run leaves."""

import json
import shutil

import pytest
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from logratio import train
from logratio.errors import ConfigError, LogratioError
from logratio.models.load import load_tokenizer
from logratio.train.trackers import scalars
from small_files import write_model, write_pairs

QUICK = {"train.batch_size": 8, "train.lr": 1e-3, "eval.samples": 2, "eval.max_new_tokens": 6, "eval.holdout": 0.2}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("data") / "pairs.jsonl", 48)


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def finished(model, pairs, tmp_path_factory):
    events = []
    run = train(model, pairs, output=tmp_path_factory.mktemp("run") / "r", on_event=events.append, **QUICK)
    return run, events


def test_a_run_leaves_what_the_design_says_and_loads_in_transformers(finished):
    run, _ = finished
    assert run.status == "finished"
    left = {path.name for path in run.directory.iterdir()}
    assert left >= {"config.yaml", "manifest.json", "metrics.jsonl", "samples.jsonl", "evaluation.json", "report.html"}
    tokenizer, model = AutoTokenizer.from_pretrained(run.model), AutoModelForCausalLM.from_pretrained(run.model)
    assert tokenizer.decode(model.generate(**tokenizer("Review the", return_tensors="pt"), max_new_tokens=2)[0])
    manifest = json.loads((run.directory / "manifest.json").read_text())
    assert manifest["reference"]["description"].endswith("as loaded, before the first step")
    assert manifest["reference"]["identity"] and manifest["versions"]["torch"] and manifest["status"] == "finished"


def test_step_0_is_the_reference_itself(finished):
    """Silent-bug list, reference 13 and 14: margin 0 and loss ln 2 before the first step, and neither afterwards."""
    run, _ = finished
    rows = read(run.directory / "metrics.jsonl")
    start = rows[0]
    assert start["kind"] == "eval" and start["step"] == 0
    assert start["loss"]["mean"] == pytest.approx(0.693147, abs=1e-5)
    assert start["margin"]["mean"] == pytest.approx(0, abs=1e-6) and start["kl"]["mean"] == pytest.approx(0, abs=1e-5)
    trained = [row for row in rows if row["kind"] == "train"]
    assert trained[0]["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert trained[-1]["margin"] > 0.05 and rows[-1]["accuracy"]["mean"] > 0.9


def test_the_loss_of_a_run_is_the_mean_over_each_steps_groups_and_steps_count_groups(finished):
    run, events = finished
    opened = next(event for event in events if event.kind == "open")
    rows = [row for row in read(run.directory / "metrics.jsonl") if row["kind"] == "train"]
    assert [row["step"] for row in rows] == list(range(1, opened.data["steps"] + 1)) == list(range(1, run.step + 1))
    assert {event.kind for event in events} >= {"reference", "open", "train", "eval", "checkpoint", "done"}


@pytest.mark.parametrize(
    "part", ["rows", "steps: ", "lr: 0.001 (given)", "loss: ", "reference: ", "mean over pairs", "held out", "memory: "]
)
def test_a_run_opens_by_saying_what_it_is(finished, part):
    _, events = finished
    lines = next(event for event in events if event.kind == "open").data["lines"]
    assert any(part in line for line in lines)


@pytest.mark.parametrize("form", ["list", "Dataset", "generator"])
def test_rows_may_come_from_any_iterable(model, pairs, tmp_path, finished, form):
    rows = read(pairs)
    data = {"list": rows, "Dataset": Dataset.from_list(rows), "generator": (row for row in rows)}[form]
    run = train(model, data, output=tmp_path / "r", **QUICK)
    same = read(finished[0].directory / "metrics.jsonl")[-1]["loss"]["mean"]
    assert run.evaluation["loss"]["mean"] == pytest.approx(same, rel=1e-6)


def test_a_loaded_model_is_trained_like_its_folder(model, pairs, tmp_path, finished):
    loaded = AutoModelForCausalLM.from_pretrained(model)
    run = train(loaded, str(pairs), tokenizer=load_tokenizer(str(model)), output=tmp_path / "r", **QUICK)
    same = read(finished[0].directory / "metrics.jsonl")[-1]["loss"]["mean"]
    assert run.evaluation["loss"]["mean"] == pytest.approx(same, rel=1e-5)
    with pytest.raises(LogratioError, match="pass tokenizer="):
        train(loaded, str(pairs), output=tmp_path / "other")


def test_a_finished_run_gives_back_what_it_measured_and_without_its_model_it_makes_it_again(finished):
    (run, _), events = finished, []
    (run.directory / "report.html").unlink()
    again = train("no/such-model", "no-data", resume=str(run.directory), on_event=events.append)
    assert again == run and (run.directory / "report.html").is_file()
    assert [event.kind for event in events] == ["note", "done"]
    weights = (run.model / "model.safetensors").read_bytes()
    shutil.rmtree(run.model)
    assert train("-", "-", resume=str(run.directory)).evaluation == run.evaluation
    assert (run.model / "model.safetensors").read_bytes() == weights


def test_settings_are_checked_before_anything_loads(pairs, tmp_path):
    with pytest.raises(ConfigError, match="objective.beta"):
        train("no/such-model", pairs, {"name": "dpo", "beta": 0}, output=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_tensorboard_receives_every_row(model, pairs, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(model, pairs, output=tmp_path / "r", trackers=["tensorboard"], **QUICK)
    shown = EventAccumulator(str(run.directory / "tensorboard")).Reload()
    rows = read(run.directory / "metrics.jsonl")
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert [event.value for event in shown.Scalars("train/loss")] == pytest.approx(losses)
    accuracy = [row["accuracy"]["mean"] for row in rows if row["kind"] == "eval"]
    assert [event.value for event in shown.Scalars("eval/accuracy")] == pytest.approx(accuracy)


@pytest.mark.slow
def test_mlflow_receives_every_row(model, pairs, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    run = train(model, pairs, output=tmp_path / "r", trackers=["mlflow"], **QUICK)
    client = mlflow.MlflowClient()
    (kept,) = client.search_runs(["0"])
    rows = [row for row in read(run.directory / "metrics.jsonl") if row["kind"] == "train"]
    told = client.get_metric_history(kept.info.run_id, "train/loss")
    assert {metric.step: metric.value for metric in told} == {row["step"]: row["loss"] for row in rows}
    assert kept.data.metrics["eval/accuracy"] == run.evaluation["accuracy"]["mean"]
    assert kept.info.run_name == "r" and kept.info.status == "FINISHED" and kept.data.params["train.lr"] == "0.001"
    assert mlflow.active_run() is None


@pytest.mark.slow
def test_trackio_receives_every_row(model, pairs, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "store"))  # read on import
    pytest.importorskip("trackio", reason="the extra `trackio` is not installed")
    from trackio.sqlite_storage import SQLiteStorage

    monkeypatch.setenv("TRACKIO_PROJECT", "films")
    run = train(model, pairs, output=tmp_path / "r", trackers=["trackio"], **QUICK)
    told = SQLiteStorage.get_logs("films", "r")
    rows = [row for row in read(run.directory / "metrics.jsonl") if row["kind"] in ("train", "eval")]
    assert [entry["step"] for entry in told] == [row["step"] for row in rows]
    for entry, row in zip(told, rows, strict=True):
        assert dict(scalars(row)).items() <= entry.items()
    assert SQLiteStorage.get_run_config("films", "r")["train.lr"] == 0.001


def test_weights_and_biases_receive_every_row(model, pairs, tmp_path, monkeypatch):
    """Offline. Its summary holds the last value of everything; the last step goes in when the run is finished."""
    wandb = pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    shown = {}

    def listen(event):
        if event.kind == "done":
            shown.update(wandb.run.summary, name=wandb.run.name, recipe=dict(wandb.run.config))

    run = train(model, pairs, output=tmp_path / "r", trackers=["wandb"], on_event=listen, **QUICK)
    rows = [row for row in read(run.directory / "metrics.jsonl") if row["step"] < run.step]
    last = {kind: next(row for row in reversed(rows) if row["kind"] == kind) for kind in ("train", "eval")}
    assert last["train"]["step"] == shown["_step"] == run.step - 1
    assert shown["train/loss"] == pytest.approx(last["train"]["loss"])
    assert shown["eval/accuracy"] == pytest.approx(last["eval"]["accuracy"]["mean"])
    assert shown["name"] == "r" and shown["recipe"]["train"]["lr"] == 1e-3
    assert wandb.run is None
    assert list((run.directory / "wandb").glob("offline-run-*/*.wandb"))


def test_scalars_take_means_and_skip_what_was_not_measured():
    row = {"kind": "eval", "step": 3, "loss": {"mean": 0.5}, "kl": {"mean": None}, "select": {"loss": {"mean": 1}}}
    assert dict(scalars(row)) == {"eval/loss": 0.5}


def test_a_sample_that_cannot_fit_is_left_out_and_said(model, pairs, tmp_path):
    events = []
    run = train(model, pairs, output=tmp_path / "r", on_event=events.append, **{**QUICK, "eval.max_new_tokens": 400})
    (warning,) = [event.data["text"] for event in events if event.kind == "warning"]
    assert "eval.max_new_tokens 400 in the model's 256 positions" in warning
    assert "kl" not in run.evaluation and "accuracy" in run.evaluation
