"""Two processes compute what one computes; real ones, started by torchrun, over gloo."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import process_worker
import pytest
import small_run
import torch
from safetensors.torch import load_file

from logratio.batch.plan import plan
from logratio.files import read_rows, read_shard, write_shard

HERE = Path(__file__).parent
LIMIT = 300
"""Seconds after which processes count as hung."""

LAYOUTS = ("tied", "untied", "attention", "head")


LAUNCH = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def environment(**more):
    paths = os.pathsep.join([str(HERE), str(HERE.parent)])
    return {
        **os.environ,
        "PYTHONPATH": paths,
        "OMP_NUM_THREADS": "1",
        **{key: str(value) for key, value in more.items()},
    }


def torchrun(*words, **more):
    """Start two processes; return their exit code and what both printed."""
    command = [*LAUNCH, *map(str, words)]
    done = subprocess.run(command, env=environment(**more), capture_output=True, text=True, timeout=LIMIT)
    return done.returncode, done.stdout + done.stderr


def together(folder, jobs):
    """Do jobs with two processes, one job after the other."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    code, said = torchrun(HERE / "process_worker.py", folder / "jobs.json")
    assert code == 0, said


def off(a, b):
    return ((a - b).norm() / b.norm()).item()


def flat(tensors, kind):
    return torch.cat([tensors[name].flatten() for name in sorted(tensors) if name.startswith(f"{kind}/")])


def compare_steps(folder, cases, dtype):
    """Five steps of each (layout, objective): one process, replicated and sharded give the same numbers."""
    names = {(c, mode): "-".join((*c, mode)) for c, mode in product(cases, ("none", "replicate", "shard"))}
    jobs = [
        ["steps", str(folder / name), {"layout": case[0], "objective": case[1], "parallel": mode, "dtype": dtype}]
        for (case, mode), name in names.items()
    ]
    process_worker.work([job for job in jobs if job[2]["parallel"] == "none"])
    together(folder, [job for job in jobs if job[2]["parallel"] != "none"])
    for case, mode in product(cases, ("replicate", "shard")):
        alone, both = (names[case, which] for which in ("none", mode))
        rows, others = (json.loads((folder / f"{name}.json").read_text()) for name in (alone, both))
        assert len(rows) == len(others) == 5
        for row, other in zip(rows, others, strict=True):
            assert row.keys() == other.keys()
            for name, value in row.items():
                assert other[name] == pytest.approx(value, rel=1e-6, abs=1e-6), (case, mode, name)
        one, two = (load_file(folder / f"{name}.safetensors") for name in (alone, both))
        assert one.keys() == two.keys()
        for kind in (*(f"gradient{index}" for index in range(5)), "weight"):
            assert off(flat(two, kind), flat(one, kind)) <= 1e-6, (case, mode, kind)
        assert flat(one, "gradient4").norm() > 1e-3


def test_two_processes_take_the_steps_of_one(tmp_path):
    compare_steps(tmp_path, [("tied", "dpo")], "float32")


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_whatever_is_trained(tmp_path):
    """In float64, so that five steps do not add up rounding; gradients are still summed over ranks in float32."""
    running = [("tied", "bco"), ("tied", "beta_dpo"), ("tied", "wpo")]
    compare_steps(tmp_path, [*product(LAYOUTS, ("dpo", "kto")), *running], "float64")


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_those_steps_have_unequal_bins_and_an_empty_one(objective):
    lengths = [[g.tokens for g in process_worker.step_of(i, objective).groups] for i in range(5)]
    plans = [plan(step, world=2, budget=process_worker.BIN_TOKENS) for step in lengths]
    assert len(lengths[-1]) < len(lengths[0])
    assert any(not own for ranks in plans for bins in ranks for own in bins)
    assert all(sum(map(len, ranks[0])) != sum(map(len, ranks[1])) for ranks in plans[:1])


def numbers(value, name=""):
    """Yield (name, number) of a metrics row, its nested measures included.

    Left out are KL, for which there is no second model beside shards, and the share of updates lost to rounding: of
    5,000 watched elements one may have a gradient at the edge of what float32 can hold, and none by another order.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in ("kl", "kl_per_token", "rounded_away"):
                yield from numbers(inner, f"{name}/{key}")
    elif isinstance(value, (int, float)):
        yield name, value


LOOSE = ("/length_correlation/", "/ece/", "/overconfidence/")
"""Measures that make rounding larger: a correlation of margins that are all near 0, and what hangs on which bin a
margin falls into. What rounding does to the margins themselves, 1e-6, they show a hundredfold."""


def same_run(run, other):
    """Both left the same metrics, samples and weights, up to the rounding of sums in another order."""
    rows, others = small_run.metrics(run), small_run.metrics(other)
    assert [(row["kind"], row["step"]) for row in rows] == [(row["kind"], row["step"]) for row in others]
    for row, its in zip(rows, others, strict=True):
        own, others_own = dict(numbers(row)), dict(numbers(its))
        assert others_own.keys() == own.keys()
        for name, value in own.items():
            rough = any(part in f"{name}/" for part in LOOSE)
            assert others_own[name] == pytest.approx(value, rel=1e-5, abs=1e-4 if rough else 2e-6), (row["step"], name)
        assert abs(its.get("rounded_away", 0.0) - row.get("rounded_away", 0.0)) < 1e-3
    drawn, others_drawn = (read_rows(path / "samples.jsonl") for path in (run, other))
    logps, others_logps = ([row.pop("logp") for row in own] for own in (drawn, others_drawn))
    assert drawn == others_drawn and others_logps == pytest.approx(logps, abs=1e-4)
    one, two = (sorted((path / "checkpoints").iterdir())[-1] for path in (run, other))
    assert one.name == two.name
    weights, its = (load_file(path / "state.safetensors") for path in (one, two))
    assert off(flat(its, "weight"), flat(weights, "weight")) <= 1e-6
    saved, its = (next((path / "model").glob("*.safetensors")) for path in (run, other))
    assert load_file(saved).keys() == load_file(its).keys()


def same_cache(cache, other):
    shards, others = ({path.relative_to(root): path for path in root.rglob("*.shard")} for root in (cache, other))
    kept = [name for name in shards if name.parts[0] == "reference"]
    assert len(kept) > 4 and shards.keys() == others.keys()
    assert all(shards[name].read_bytes() == others[name].read_bytes() for name in kept)


@pytest.mark.slow
def test_whole_runs_of_two_processes_are_those_of_one(tmp_path):
    """Full, LoRA on all layers and on the head, a loaded adapter, KTO; stopped and continued across sizes."""
    small = {"block": 8, "train.bin_tokens": 60, "train.lr": 1e-4, "eval.samples": 2}
    pairs, kto, untied = (tmp_path / name for name in ("pairs", "kto", "untied"))
    for folder in (pairs, kto, untied):
        folder.mkdir()
    recipes = {
        "full": small_run.world(pairs),
        "lora": {**small_run.world(pairs), "lora": {"r": 4, "alpha": 8}},
        "head": {**small_run.world(untied, tied=False), "lora": {"r": 4, "alpha": 8, "targets": ["lm_head"]}},
        "kto": {**small_run.world(kto, rows=small_run.labelled), "objective": "kto"},
        "loaded": {**small_run.world(pairs), "model": str(tmp_path / "lora-none" / "model")},
        "simpo": {**small_run.world(pairs), "objective": "simpo"},
    }
    modes = ("none", "replicate", "shard")

    def job(name, mode, **changes):
        own = {**small, **recipes[name], "cache": str(tmp_path / f"{name}-{mode}-cache"), "train.parallel": mode}
        return ["run", str(tmp_path / f"{name}-{mode}"), {**own, **changes}]

    def stopped(mode, label):
        return job(
            "full", mode, output=str(tmp_path / label), stop_at=("train", 3, ["SIGTERM"]), **{"train.parallel": "auto"}
        )

    def continued(label):
        return ["run", "", {"resume": str(tmp_path / label), "output": str(tmp_path / label), **recipes["full"]}]

    process_worker.work([*(job(name, "none") for name in recipes), stopped("none", "grows")])
    keeps = job("full", "replicate", output=str(tmp_path / "keeps"), stop_at=("train", 3, ["SIGTERM"]))
    jobs = [job(name, mode) for name in recipes for mode in modes[1:]]
    together(tmp_path, [*jobs, stopped("shard", "shrinks"), continued("grows"), keeps, continued("keeps")])
    process_worker.work([continued("shrinks")])
    for name, mode in product(recipes, modes[1:]):
        same_run(tmp_path / f"{name}-none", tmp_path / f"{name}-{mode}")
        if name != "simpo":  # which has no reference
            same_cache(tmp_path / f"{name}-none-cache", tmp_path / f"{name}-{mode}-cache")
    for label in ("shrinks", "grows", "keeps"):
        same_run(tmp_path / "full-none", tmp_path / label)


@pytest.mark.slow
def test_two_processes_move_it_as_one_does(tmp_path):
    """Replicated and sharded, replaced and averaged, all weights and adapters; resumed by both what one began."""
    world = small_run.world(tmp_path)
    recipes = {
        "full": {"reference_sync": {"every": 2, "alpha": 0.6}},
        "lora": {"reference_sync": {"every": 2}, "lora": {"r": 4}},
        "kto": {"reference_sync": {"every": 3}, "objective": "kto"},
    }
    jobs = {}
    for (name, change), mode in product(recipes.items(), ("none", "replicate", "shard")):
        own = {**world, **change, "train.parallel": mode, "train.bin_tokens": 60}
        jobs[name, mode] = ["run", str(tmp_path / f"{name}-{mode}"), {**own, "cache": str(tmp_path / "cache")}]
    process_worker.work([job for (_, mode), job in jobs.items() if mode == "none"])
    begun = {**jobs["full", "none"][2], "stop_at": ("train", 3, ["SIGTERM"])}
    process_worker.work([["run", str(tmp_path / "grows"), begun]])
    grows = ["run", str(tmp_path / "grows"), {**jobs["full", "none"][2], "resume": str(tmp_path / "grows")}]
    together(tmp_path, [*(job for (_, mode), job in jobs.items() if mode != "none"), grows])
    for name, mode in product(recipes, ("replicate", "shard")):
        same_run(tmp_path / f"{name}-none", tmp_path / f"{name}-{mode}")
        alone, both = (
            [row["kl"]["mean"] for row in small_run.metrics(tmp_path / f"{name}-{which}") if row["kind"] == "eval"]
            for which in ("none", mode)
        )
        assert both == pytest.approx(alone, rel=1e-3, abs=1e-5) and max(both) > 1e-3
    same_run(tmp_path / "full-none", tmp_path / "grows")


def command(folder, **changes):
    """Start `logratio train` with two processes; return the exit code, and their messages."""
    recipe = {**small_run.world(folder), **small_run.RECIPE, "output": folder / "run", **changes}
    options = [word for name, value in recipe.items() for word in (f"--{name}", value)]
    code, said = torchrun("-m", "logratio", "train", *options, LOGRATIO_CACHE=folder)
    return code, [line for line in said.splitlines() if line.startswith(("logratio:", "logratio ("))]


@pytest.mark.slow
def test_what_stops_rank_0_stops_all_with_one_message(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "novel.txt").write_text("mine")
    code, said = command(tmp_path)
    assert code != 0 and said == [
        f"logratio: output {tmp_path / 'run'} holds files that are not a run's (novel.txt); "
        "choose an empty or new folder with --output."
    ]


@pytest.mark.slow
def test_a_bad_file_is_told_once(tmp_path):
    code, said = command(tmp_path, data=tmp_path / "absent.jsonl")
    assert code != 0 and len(said) == 1 and "absent.jsonl" in said[0]


@pytest.mark.slow
def test_a_process_that_fails_alone_says_why_and_the_other_does_not_hang(tmp_path):
    """A reference log-prob that is no number, in a row that one of the ranks reads."""
    small_run.run(**small_run.world(tmp_path), output=str(tmp_path / "first"), cache=tmp_path)
    (block,) = (tmp_path / "reference").rglob("*.shard")
    arrays, _ = read_shard(block)
    broken = {name: np.array(array) for name, array in arrays.items()}
    row = 7  # not among those that are checked on load
    broken["logp"][broken["ends"][row] - 1] = np.nan
    write_shard(block, broken)
    code, said = command(tmp_path, **{"train.bin_tokens": 40, "eval.holdout": 0})
    why = [line for line in said if f"reference log-prob is not finite in torch.float32, data rows [{row}]" in line]
    other = [line for line in said if "another process of this run stopped" in line]
    assert code != 0 and len(why) == 1 and len(other) <= 1 and len(said) == len(why) + len(other)


@pytest.mark.slow
def test_a_signal_to_the_launcher_saves_on_all_and_the_run_goes_on(tmp_path):
    """As a cluster's scheduler sends it: torchrun passes SIGTERM on to its processes."""
    recipe = {**small_run.world(tmp_path, n=400), **small_run.RECIPE, "output": tmp_path / "run", "eval.samples": 0}
    options = [str(word) for name, value in recipe.items() for word in (f"--{name}", value)]
    heard = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(
        [*LAUNCH, "-m", "logratio", "train", *options], env=environment(LOGRATIO_CACHE=tmp_path), **heard
    )
    log = tmp_path / "run" / "metrics.jsonl"
    while not log.exists() or '"train"' not in log.read_text():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=LIMIT)
    assert said.count(f"continue with: logratio train --resume {tmp_path / 'run'}") == 1
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "interrupted"
    saved = int(sorted((tmp_path / "run" / "checkpoints").iterdir())[-1].name.split("-")[1])
    assert 1 <= saved < 40
    assert len([row for row in small_run.metrics(tmp_path / "run") if row["kind"] == "train"]) == saved


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["replicate", "shard"])
def test_bf16_products_on_two_processes_are_near_those_of_one(tmp_path, parallel):
    """Not to 1e-6: FSDP2 rounds gradients and weights at other places than one process does."""
    own = {**small_run.world(tmp_path), "block": 8, "train.precision": "bf16", "train.bin_tokens": 60}
    process_worker.work([["run", str(tmp_path / "one"), {**own, "cache": str(tmp_path / "a")}]])
    both = {**own, "cache": str(tmp_path / "b"), "train.parallel": parallel}
    together(tmp_path, [["run", str(tmp_path / "two"), both]])
    rows, others = small_run.metrics(tmp_path / "one"), small_run.metrics(tmp_path / "two")
    for row, other in zip(rows, others, strict=True):
        if row["kind"] == "train":
            assert other["loss"] == pytest.approx(row["loss"], abs=0.01)
    assert rows[-1]["loss"]["mean"] < 0.68 > others[-1]["loss"]["mean"]
