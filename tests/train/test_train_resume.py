"""A run that is killed, or asked to stop, and continued ends as if nothing had happened."""

import json
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import small_run
import torch
from safetensors.torch import load_file

from logratio.errors import CheckpointError, ConfigError, RunError
from logratio.maths.counter import stream

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["small_run", "transformers.models.llama.modeling_llama", "bokeh.plotting", "bokeh.embed"])
"""Attempts are forked from a process that has imported everything, so that a kill meets the run and not its imports."""

LIMIT = 300
"""Seconds after which an attempt counts as hung."""


def attempt(arguments, *, kill_after=None):
    """Run in a process of its own; return whether it ended by itself before the kill."""
    process = FORKS.Process(target=small_run.run, kwargs=arguments)
    process.start()
    process.join(LIMIT if kill_after is None else kill_after)
    process.kill()
    process.join()
    assert process.exitcode in ((0, -9) if kill_after is not None else (0,))
    return process.exitcode == 0


def left_by(directory):
    """What must be the same, bit for bit, however often the run was interrupted."""
    newest = sorted((directory / "checkpoints").iterdir())[-1]
    return {
        "weights": [path.read_bytes() for path in (directory / "model").glob("*.safetensors")],
        "moments": (newest / "state.safetensors").read_bytes(),
        "checkpoints": sorted(path.name for path in (directory / "checkpoints").iterdir()),
        "samples": (directory / "samples.jsonl").read_bytes(),
        "rollouts": {path.name: path.read_bytes() for path in directory.glob("rollouts/*")},
        "metrics": [list(row.items()) for row in small_run.metrics(directory)],
        "files": sorted(path.name for path in directory.iterdir()),
    }


def kill_test(folder, arguments, *, moments, seed=0):
    """Kill runs, each at the next moments, and continue them, until every kill has met a run at work.

    Args:
        moments: Shares of the time that an undisturbed run takes until its model is written, one a kill, from and to.
    """
    arguments = {**small_run.world(folder), "block": 8, "resume": "auto", **arguments}
    warm_up = FORKS.Process(target=time.sleep, args=(0,))
    warm_up.start()
    warm_up.join()
    whole, began = folder / "undisturbed", time.time()
    attempt({**arguments, "output": str(whole / "run"), "cache": whole / "cache"})
    duration = (whole / "run" / "model").stat().st_mtime - began
    expected, draw, left = left_by(whole / "run"), stream(seed, "kills"), list(moments)
    for number in range(5 * len(moments)):
        own = folder / f"killed{number}"
        while left:
            moment = duration * draw.uniform(*left[0])
            if attempt({**arguments, "output": str(own / "run"), "cache": own / "cache"}, kill_after=moment):
                break  # it was faster than the kill, which the next run gets
            left.pop(0)
        else:
            assert attempt({**arguments, "output": str(own / "run"), "cache": own / "cache"})
        assert left_by(own / "run") == expected
        if not left:
            return
    raise AssertionError(f"{len(left)} of {len(moments)} kills came too late every time")


def test_a_killed_run_ends_bitwise_as_an_undisturbed_one(tmp_path):
    kill_test(tmp_path, {}, moments=[(0.2, 0.5), (0.4, 0.9)])


@pytest.mark.slow
def test_ten_kills_at_random_moments_leave_no_trace(tmp_path):
    kill_test(tmp_path, {}, moments=[(n / 10, (n + 1) / 10) for n in range(10)])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Arguments of a run, and what it leaves."""
    folder = tmp_path_factory.mktemp("undisturbed")
    arguments = {**small_run.world(folder), "block": 8}
    small_run.run(**arguments, output=str(folder / "run"), cache=folder / "cache")
    return arguments, left_by(folder / "run")


def test_whoever_asks_to_stop_and_when_the_run_ends_the_same(undisturbed, tmp_path):
    """In the reference pass and between steps, by each signal; every time it says where it can go on."""
    arguments, expected = undisturbed
    own = {**arguments, "output": str(tmp_path / "run"), "cache": tmp_path / "cache", "resume": "auto"}
    asked = [("reference", 3, "SIGTERM", 0), ("train", 1, "SIGINT", 1), ("train", 4, "SIGUSR1", 4)]
    for kind, number, name, made in asked:
        stopped = small_run.run(**own, stop_at=(kind, number, [name]))
        assert (stopped.status, stopped.step) == ("interrupted", made)
        assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "interrupted"
        blocks = [path for path in (tmp_path / "cache" / "reference").rglob("*.shard")]
        assert len(blocks) == (3 if kind == "reference" else 8)
        assert len(list((tmp_path / "run").glob(f"checkpoints/step-{made:08d}"))) == bool(made)
    assert small_run.run(**own).status == "finished"
    assert left_by(tmp_path / "run") == expected


def abort(arguments, kind, number):
    """Press Ctrl-C twice at an event: the run ends at once, and saves nothing more."""
    with pytest.raises(KeyboardInterrupt):
        small_run.run(**arguments, stop_at=(kind, number, ["SIGINT", "SIGINT"]))


def test_a_second_ctrl_c_aborts_and_a_lost_cache_is_made_again(undisturbed, tmp_path):
    arguments, expected = undisturbed
    own = {**arguments, "output": str(tmp_path / "run"), "cache": tmp_path / "cache"}
    abort(own, "train", 3)
    assert [path.name[-1] for path in sorted((tmp_path / "run" / "checkpoints").iterdir())] == ["1", "2"]
    shutil.rmtree(tmp_path / "cache")
    finished = small_run.run(**{**own, "resume": str(tmp_path / "run")})
    assert finished.status == "finished"
    assert left_by(tmp_path / "run") == expected


def test_a_corrupt_checkpoint_is_refused_and_the_one_before_it_leads_to_the_same_end(undisturbed, tmp_path):
    arguments, expected = undisturbed
    own = {**arguments, "output": str(tmp_path / "run"), "cache": tmp_path / "cache"}
    abort(own, "train", 4)
    newest = tmp_path / "run" / "checkpoints" / "step-00000003"
    body = bytearray((newest / "state.safetensors").read_bytes())
    body[-1] ^= 1
    (newest / "state.safetensors").write_bytes(body)
    with pytest.raises(CheckpointError, match=f"{newest} is corrupt: .* delete {newest} to continue"):
        small_run.run(**{**own, "resume": str(tmp_path / "run")})
    shutil.rmtree(newest)
    small_run.run(**{**own, "resume": str(tmp_path / "run")})
    assert left_by(tmp_path / "run") == expected


def test_a_run_is_not_continued_from_another_model(undisturbed, tmp_path):
    arguments, _ = undisturbed
    start = tmp_path / "start"
    shutil.copytree(arguments["model"], start)
    own = {**arguments, "model": str(start), "output": str(tmp_path / "run"), "cache": tmp_path / "cache"}
    abort(own, "train", 2)
    small_run.start_model(start, seed=1)
    with pytest.raises(CheckpointError, match="was trained against another reference"):
        small_run.run(**{**own, "resume": str(tmp_path / "run")})


def test_a_run_continued_on_other_data_says_so(undisturbed, tmp_path):
    arguments, _ = undisturbed
    rows, told = small_run.write_rows(tmp_path / "rows.jsonl", small_run.pairs(60)), []
    own = {**arguments, "data": str(rows), "output": str(tmp_path / "run"), "cache": tmp_path / "cache"}

    def listen(event):
        told.extend([event.data["text"]] if event.kind == "warning" and "data" in event.data["text"][:8] else [])

    small_run.run(**own, stop_at=("train", 4, ["SIGTERM"]))
    small_run.write_rows(rows, small_run.pairs(60, seed=1))
    small_run.run(**own, resume="auto", on_event=listen)
    assert len(told) == 1 and told[0].startswith("the data is not what this run began with (hash ")


def test_what_is_no_run_cannot_be_resumed_and_auto_starts_one(undisturbed, tmp_path):
    arguments, _ = undisturbed
    with pytest.raises(RunError, match=r"holds no run \(config.yaml is missing\)"):
        small_run.run(**arguments, resume=str(tmp_path / "absent"))
    assert not (tmp_path / "absent").exists()
    with pytest.raises(RunError, match="name its directory with --output"):
        small_run.run(**arguments, resume="auto")


def test_the_best_checkpoint_is_chosen_on_one_half_and_reported_on_the_other(undisturbed, tmp_path):
    arguments, _ = undisturbed
    own = {**arguments, "output": str(tmp_path / "run"), "cache": tmp_path / "cache"}
    recipe = {"keep.best": "eval/accuracy", "keep.last": 1, "eval.holdout": 0.4}
    abort({**own, **recipe}, "train", 5)
    small_run.run(**{**own, "resume": str(tmp_path / "run")})
    rows = [row for row in small_run.metrics(tmp_path / "run") if row["kind"] == "eval"]
    chosen = max(rows[1:], key=lambda row: row["select"]["accuracy"]["mean"])  # the first of equals
    assert 0 < chosen["step"] < rows[-1]["step"], "this run's best step must not be its last"
    names = [f"step-{step:08d}" for step in (chosen["step"], rows[-1]["step"])]
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == names
    weights = load_file(tmp_path / "run" / "checkpoints" / names[0] / "state.safetensors")
    saved = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert all(torch.equal(saved[name], weights[f"weight/{name}"]) for name in saved)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert f"step {chosen['step']}, the best by eval/accuracy on the other half" in manifest["weights"]
    reported = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    for name in ("loss", "margin"):
        whole, half = chosen[name], chosen["select"][name]
        rest = whole["n"] - half["n"]
        assert reported[name]["n"] == rest and 0 < rest < whole["n"]
        mean = (whole["n"] * whole["mean"] - half["n"] * half["mean"]) / rest
        assert reported[name]["mean"] == pytest.approx(mean, abs=1e-6)
        assert reported["before"][name]["n"] == rest
    assert reported["before"]["loss"]["mean"] == pytest.approx(math.log(2), abs=1e-6)
    assert reported["before"]["accuracy"]["mean"] == 0.5
    assert reported["sample_length"] == chosen["sample_length"]


def test_running_values_go_on_where_they_stopped_and_evaluation_leaves_them_alone(tmp_path):
    """BCO's sums, bit for bit: undisturbed, interrupted, and without an evaluation in between."""
    arguments = {**small_run.world(tmp_path, rows=small_run.labelled), "objective": "bco", "train.lr": 1e-2}
    runs = {name: {**arguments, "output": str(tmp_path / name), "cache": tmp_path / "cache"} for name in "abc"}
    small_run.run(**runs["a"])
    abort(runs["b"], "train", 3)
    small_run.run(**{**runs["b"], "resume": "auto"})
    assert left_by(tmp_path / "b") == left_by(tmp_path / "a")
    small_run.run(**runs["c"], **{"every.eval": 1.0})
    kept = [state_of(tmp_path / name) for name in "abc"]
    assert kept[0] == kept[1] == kept[2]
    assert kept[0].keys() == {"good_sum", "good_count", "bad_sum", "bad_count"} and all(kept[0].values())
    shifts = [row["reward_shift"] for row in small_run.metrics(tmp_path / "a") if row["kind"] == "train"]
    assert len(set(shifts)) == len(shifts) and shifts[0] == pytest.approx(0, abs=1e-5)


def state_of(directory):
    newest = sorted((directory / "checkpoints").iterdir())[-1]
    return json.loads((newest / "state.json").read_text())["state"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        {"lora": {"r": 4, "alpha": 8}},
        {"train.precision": "bf16"},
        {"train.precision": "bf16", "train.weights": "bf16"},
        {"train.precision": "bf16", "lora": {"r": 4, "alpha": 8}},
        {"train.optimizer": "rmsprop", "train.checkpointing": True},
        {"train.optimizer": "adamw_8bit"},
        {"train.bin_tokens": 40, "train.schedule": "cosine", "train.epochs": 1.5},
        {"objective": "sft", "keep.best": "eval/loss"},
        {"objective": "kto", "train.bin_tokens": 40},
        {"objective": "beta_dpo", "keep.best": "eval/accuracy", "train.bin_tokens": 40},
        {"objective": "wpo", "train.bin_tokens": 40},
        {"objective": "tdpo", "train.bin_tokens": 40},
        {"objective": "tdpo", "lora": {"r": 4, "alpha": 8}},
    ],
    ids=str,
)
def test_every_kind_of_run_goes_on_bitwise(tmp_path, recipe):
    rows = small_run.labelled if recipe.get("objective") == "kto" else small_run.pairs
    arguments = {**small_run.world(tmp_path, rows=rows), "block": 8, **recipe}
    whole, parts = ({**arguments, "output": str(tmp_path / name), "cache": tmp_path / f"{name}-cache"} for name in "ab")
    small_run.run(**whole)
    abort(parts, "train", 2)
    small_run.run(**{**parts, "resume": "auto"}, stop_at=("train", 4, ["SIGTERM"]))
    small_run.run(**{**parts, "resume": "auto"})
    assert left_by(tmp_path / "b") == left_by(tmp_path / "a")
    assert json.loads((tmp_path / "b" / "manifest.json").read_text())["status"] == "finished"


@pytest.mark.slow
def test_the_command_line_saves_says_how_to_go_on_and_goes_on(tmp_path):
    arguments = small_run.world(tmp_path)
    small_run.run(**arguments, output=str(tmp_path / "whole"), cache=tmp_path / "other", preflight=True)
    run, train = tmp_path / "run", [sys.executable, "-m", "logratio", "train"]
    recipe = {**small_run.RECIPE, **arguments, "output": run}
    options = [str(word) for name, value in recipe.items() for word in (f"--{name}", value)]
    environment = {**os.environ, "LOGRATIO_CACHE": str(tmp_path / "cache")}
    heard = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen([*train, *options, "--resume", "auto"], **heard)
    while not (run / "metrics.jsonl").exists() or '"train"' not in (run / "metrics.jsonl").read_text():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert f"continue with: logratio train --resume {run}" in said
    code = subprocess.run([*train, "--resume", str(run)], env=environment, timeout=LIMIT).returncode
    assert code == 0 and left_by(run) == left_by(tmp_path / "whole")


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"keep.best": "eval/nonsense"}, "does not measure on held-out groups; choose one of eval/loss, .*accuracy"),
        ({"keep.best": "eval/accuracy", "eval.holdout": 0}, "0 held-out groups leave one empty; raise eval.holdout"),
        ({"keep.best": "eval/accuracy", "eval.holdout": 0.02}, "1 held-out groups leave one empty"),
    ],
)
def test_a_best_that_cannot_be_told_is_an_error_before_the_first_step(undisturbed, tmp_path, recipe, said):
    arguments, _ = undisturbed
    with pytest.raises(ConfigError, match=said):
        small_run.run(**arguments, output=str(tmp_path / "run"), cache=tmp_path / "cache", **recipe)
    kept = tmp_path / "run" / "metrics.jsonl"
    assert not kept.exists() or '"train"' not in kept.read_text()
