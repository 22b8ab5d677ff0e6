"""A reference that follows the policy: what it becomes, what is measured against it, what it leaves alone."""

import copy
import math
import re
from contextlib import nullcontext
from functools import partial
from itertools import product

import numpy as np
import pytest
import small_run
import torch
from safetensors.torch import load_file
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM

from logratio import objectives
from logratio.config import SyncConfig
from logratio.errors import CheckpointError, ConfigError
from logratio.files import read_shard, write_shard
from logratio.logps.policy import Policy
from logratio.logps.reference import score
from logratio.models.load import load_model
from logratio.train.distributed import World
from logratio.train.gradient import Learner, metric_names, step_gradient
from logratio.train.moving import MovingReference, weight_bytes
from logratio.train.optim import Optimizer
from logratio.train.recipe import resolve
from logratio.train.source import Step
from worlds import random_groups, tiny_llama

ALONE = World(0, 1, "none", torch.device("cpu"))
slow = partial(pytest.param, marks=pytest.mark.slow)
ALL_CHECKPOINTS = {"every.checkpoint": 0.01, "keep.last": 99}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return small_run.world(tmp_path_factory.mktemp("moving"))


def run(world, folder, *, finish=False, until=None, **arguments):
    """Run with a cache of its own; return its rows, and what it said at its opening and warned of.

    It is broken off at the checkpoint of step `until`, else at the last one, before model and page; not with `finish`.
    """
    said, steps = [], []

    def listen(event):
        said.extend(event.data["lines"] if event.kind == "open" else [])
        steps.extend([event.data["steps"]] if event.kind == "open" else [])
        said.extend([event.data["text"]] if event.kind == "warning" else [])
        if event.kind == "checkpoint" and event.data["step"] == (until or steps[0]) and not finish:
            raise KeyboardInterrupt

    own = {**world, "output": str(folder / "run"), "cache": folder / "cache", "on_event": listen}
    with nullcontext() if finish else pytest.raises(KeyboardInterrupt):
        small_run.run(**{**own, **arguments})
    return small_run.metrics(folder / "run"), said


def of_kind(rows, kind):
    return [row for row in rows if row["kind"] == kind]


def flat_numbers(row):
    return {
        f"{name}/{key}": number
        for name, value in row.items()
        if name not in ("kind", "rounded_away", "calibration")  # whose bins follow from the margins beside it
        for key, number in (value.items() if isinstance(value, dict) else [("", value)])
        if number is not None
    }


def state(folder, step):
    return load_file(folder / "run" / "checkpoints" / f"step-{step:08d}" / "state.safetensors")


def part(tensors, prefix):
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


@pytest.mark.parametrize(
    "change", [{}, slow({"lora": {"r": 4}}), slow({"objective": "kto"})], ids=["full", "lora", "kto"]
)
def test_one_that_never_gets_to_move_is_the_cached_one(world, tmp_path, change):
    """Not bit for bit: the cached pass put whole blocks of the data set into bins, and not one step's groups."""
    standing, _ = run(world, tmp_path / "standing", **change)
    rows, said = run(world, tmp_path / "moving", **change, **{"reference_sync.every": 1000})
    assert len(rows) == len(standing)
    for row, other in zip(rows, standing, strict=True):
        assert flat_numbers(row) == pytest.approx(flat_numbers(other), rel=1e-5, abs=1e-5)
    steps = of_kind(rows, "train")[-1]["step"]
    assert f"reference_sync.every is 1000 and the run has {steps} steps, so the reference never moves." in said


@pytest.mark.parametrize(
    "change", [{}, slow({"lora": {"r": 4}}), slow({"objective": "tdpo"})], ids=["full", "lora", "tdpo"]
)
def test_moved_before_every_step_it_is_the_policy_bit_for_bit(world, tmp_path, change):
    """So that every step begins at DPO's log 2, over several bins; after two steps between moves it does not."""
    always, _ = run(world, tmp_path / "always", **{**change, "reference_sync.every": 1, "train.bin_tokens": 40})
    log_2 = float(torch.nn.functional.softplus(torch.zeros(())))
    for row in of_kind(always, "train"):
        assert (row["margin"], row["logratio_chosen"]) == (0, 0) and row["loss"] == pytest.approx(log_2, rel=1e-7)
        assert row["grad_norm"] > 0.01 and row.get("drift_chosen", 0) == 0
    for row in of_kind(always, "eval")[1:]:  # against the reference that the step before had
        assert row["margin"]["mean"] > 1e-3 and row["kl"]["mean"] != 0
    second, _ = run(world, tmp_path / "second", **{**change, "reference_sync.every": 2})
    margins = {row["step"]: row["margin"] for row in of_kind(second, "train")}
    assert [step for step, margin in margins.items() if margin == 0] == [1, 3, 5]
    assert all(margins[step] > 1e-3 for step in (2, 4, 6))


@pytest.mark.parametrize("lora", [None, slow({"r": 4})], ids=["full", "lora"])
def test_two_soft_updates_by_hand(world, tmp_path, lora):
    """ref ← 0.6 θ + 0.4 ref before steps 3 and 5, in float64 from the checkpoints' policies; nothing else moves it."""
    change = {} if lora is None else {"lora": lora}
    run(world, tmp_path, **change, **ALL_CHECKPOINTS, **{"reference_sync": {"every": 2, "alpha": 0.6}})
    states = {step: state(tmp_path, step) for step in range(1, 7)}
    policy = {step: part(found, "weight/") for step, found in states.items()}
    reference = {step: part(found, "reference/") for step, found in states.items()}
    assert reference[1].keys() == policy[1].keys() and len(policy[1]) > 5
    for name, start in reference[1].items():
        once = 0.6 * policy[2][name].double() + 0.4 * start.double()
        twice = 0.6 * policy[4][name].double() + 0.4 * once
        for step, expected in {2: start, 3: once, 4: once, 5: twice, 6: twice}.items():
            assert torch.allclose(reference[step][name].double(), expected.double(), rtol=1e-6, atol=1e-8), (step, name)
    moved = torch.cat([(reference[6][name] - reference[1][name]).flatten() for name in reference[1]])
    assert moved.norm() > 1e-2


def test_what_is_measured_is_against_the_weights_in_the_checkpoint(world, tmp_path):
    """The last evaluation's loss, from two models in transformers and full log-softmax tables."""
    rows = small_run.pairs(6, seed=9)
    held = small_run.write_rows(tmp_path / "held.jsonl", rows)
    found, _ = run(world, tmp_path, **{"eval_data": str(held), "reference_sync": {"every": 2, "alpha": 0.6}})
    tensors, tokenizer = state(tmp_path, 8), small_run.word_tokenizer()
    models = {}
    for kind in ("weight/", "reference/"):
        models[kind] = AutoModelForCausalLM.from_pretrained(world["model"])
        missing, unknown = models[kind].load_state_dict(part(tensors, kind), strict=False)
        assert set(missing) <= {"lm_head.weight"} and not unknown  # which is tied

    def logp(kind, prompt, response):
        ids = torch.tensor(tokenizer(prompt + response)["input_ids"] + [tokenizer.eos_token_id])
        at = len(tokenizer(prompt)["input_ids"])
        with torch.no_grad():
            table = torch.log_softmax(models[kind](ids[None]).logits[0].double(), -1)
        return table[at - 1 : -1].gather(1, ids[at:, None]).sum()

    def ratio(row, side):
        return logp("weight/", row["prompt"], row[side]) - logp("reference/", row["prompt"], row[side])

    by_hand = [-logsigmoid(0.1 * (ratio(row, "chosen") - ratio(row, "rejected"))).item() for row in rows]
    assert of_kind(found, "eval")[-1]["loss"]["mean"] == pytest.approx(np.mean(by_hand), abs=1e-6)
    assert np.mean(by_hand) == pytest.approx(math.log(2), abs=0.2) and abs(np.mean(by_hand) - math.log(2)) > 1e-3


def test_the_cache_is_neither_read_nor_written(world, tmp_path):
    """Whole shards under the right name with wrong numbers: a run that moves its reference does not see them."""
    clean, _ = run(world, tmp_path / "clean", **{"reference_sync.every": 3})
    assert not (tmp_path / "clean" / "cache" / "reference").exists()
    run(world, tmp_path / "own")
    (folder,) = (tmp_path / "own" / "cache" / "reference").iterdir()
    for path in folder.iterdir():
        arrays, meta = read_shard(path)
        write_shard(path, {"logp": np.array(arrays["logp"]) - 0.25, "ends": np.array(arrays["ends"])}, meta)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    beside = tmp_path / "beside"
    again, said = run(world, beside, **{"reference_sync.every": 3, "cache": tmp_path / "own" / "cache"})
    assert again == clean and not [line for line in said if "computed again" in line]
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before


@pytest.mark.parametrize("change", [slow({"alpha": 1.0}), {"alpha": 0.6, "lora": 4}], ids=["full", "lora"])
def test_a_resumed_run_is_the_undisturbed_one_bit_for_bit(world, tmp_path, change):
    """Stopped between moves, and right before one."""
    change = {"reference_sync": {"every": 2, "alpha": change["alpha"]}, "lora": change.get("lora"), "resume": "auto"}
    whole, _ = run(world, tmp_path / "whole", **change)
    for step in (3, 4, None):
        rows, _ = run(world, tmp_path / "parts", until=step, **change)
        assert of_kind(rows, "train")[-1]["step"] == (step or 6)
    assert rows == whole
    newest = [sorted((tmp_path / name / "run" / "checkpoints").iterdir())[-1] for name in ("whole", "parts")]
    assert [path.name for path in newest] == ["step-00000006"] * 2
    one, two = ((path / "state.safetensors").read_bytes() for path in newest)
    assert one == two and b"reference/" in one


@pytest.mark.slow
def test_a_run_is_not_resumed_with_another_period(world, tmp_path):
    own = {**world, "output": str(tmp_path / "run"), "cache": tmp_path / "cache", "resume": "auto"}
    small_run.run(**own, **{"reference_sync.every": 2}, stop_at=("train", 3, ["SIGTERM"]))
    recipe = tmp_path / "run" / "config.yaml"
    for other in ("every: 3", "every: null"):
        recipe.write_text(re.sub("every: (2|3)$", other, recipe.read_text(), flags=re.MULTILINE))
        with pytest.raises(CheckpointError, match="was trained against another reference"):
            small_run.run(**own)


def test_what_it_is_and_does_is_printed_and_kept(world, tmp_path):
    sync = {"every": 2, "alpha": 0.6}
    _, said = run(world, tmp_path, **{"reference_sync": sync})
    (line,) = (line for line in said if line.startswith("reference: "))
    kept = small_run.json.loads((tmp_path / "run" / "manifest.json").read_text())["reference"]
    assert line == f"reference: {kept['description']}" and kept["sync"] == sync and kept["kind"] == "start"
    assert kept["description"] == (
        f"{world['model']} as loaded, before the first step; after every 2 steps it becomes 0.6 × policy + 0.4 × "
        "reference, over the trained weights, and losses, rewards and KL are against the reference as it is at their "
        "step, computed anew each time"
    )
    assert any("moving reference" in line for line in said)


REFUSED = {
    "no reference": ({"objective": "simpo", "reference_sync.every": 5}, "simpo has no reference that could move"),
    "every 0": ({"reference_sync.every": 0}, "`reference_sync.every` is 0, but must be a whole number > 0"),
    "alpha 0": ({"reference_sync": {"every": 5, "alpha": 0}}, "`reference_sync.alpha` is 0, but must be"),
    "alpha above 1": ({"reference_sync": {"every": 5, "alpha": 1.5}}, "`reference_sync.alpha` is 1.5, but must be"),
    "alpha alone": ({"reference_sync.alpha": 0.6}, "reference_sync.every is not given, so nothing ever moves"),
    "base": ({"reference_sync.every": 5, "reference": "base", "lora": 4}, "use reference: start"),
    "another model": ({"reference_sync.every": 5, "reference": "other"}, "use reference: start"),
    "keep.best": ({"reference_sync.every": 5, "keep.best": "eval/loss"}, "leave one of the two out"),
    "its section as a number": ({"reference_sync": 512}, "it is a section with the keys every, alpha"),
    "TRL's name": ({"ref_model_sync_steps": 512}, "write `reference_sync.every: 512`"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_contradicts_it_is_refused_before_anything_is_loaded(name):
    change, said = REFUSED[name]
    with pytest.raises(ConfigError, match=re.escape(said)):
        resolve({"model": "nowhere", "data": "nowhere.jsonl", **change})


def moved_apart(sync, *, dtype=torch.float32, stochastic=False, compute=None, **model):
    """Return a policy that two updates took away from its moving reference, that, and the optimiser."""
    policy = Policy(tiny_llama(dtype=dtype, **model))
    optimizer = Optimizer(
        dict(policy.model.named_parameters()),
        kind="adamw",
        weight_decay=0.0,
        stochastic=stochastic,
        seed=0,
        compute=compute,
    )
    moving = MovingReference(policy, optimizer, sync, ALONE)
    chosen = objectives.load("sft")
    groups = random_groups(4, k=1, seed=3)
    for index in range(2):
        step_gradient(Learner(policy, chosen, chosen.settings(), ALONE, 500, chosen.scope), Step(index, groups))
        optimizer.step(3e-3, index)
    return policy, moving, optimizer


LAYOUTS = {
    "float32": {},
    "bfloat16 copies of masters": {"compute": torch.bfloat16},
    "bfloat16 without masters": {"compute": torch.bfloat16, "stochastic": True},
}


@pytest.mark.parametrize(("layout", "alpha"), [*product(LAYOUTS, (1.0, 0.6))])
def test_asking_it_leaves_the_policy_as_it_was_bit_for_bit(layout, alpha):
    """And it is the model that the run began with, until it moves; moved outright, it is the policy."""
    policy, moving, optimizer = moved_apart(SyncConfig(every=1, alpha=alpha), **LAYOUTS[layout])
    start = Policy(tiny_llama())
    for weight in start.parameters():  # not its buffers, which stay in float32
        weight.data = weight.data.to(LAYOUTS[layout].get("compute", torch.float32))
    groups = random_groups(5, k=2, seed=8)
    before, kept = copy.deepcopy(policy.state_dict()), optimizer.state()
    own = [group.columns.token["reference"] for group in moving.attach(groups, bin_tokens=60)]
    assert np.array_equal(np.concatenate(own), np.concatenate(score(start, groups, bin_tokens=60)))
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())
    assert all(torch.equal(value, kept[name]) for name, value in optimizer.state().items())
    policys = np.concatenate(score(policy, groups, bin_tokens=60))
    assert np.abs(policys - np.concatenate(own)).max() > 0.01
    moving.follow(1)
    moved = np.concatenate([group.columns.token["reference"] for group in moving.attach(groups, bin_tokens=60)])
    assert np.array_equal(moved, policys) == (alpha == 1)
    assert np.abs(moved - np.concatenate(own)).max() > 0.005


def test_a_failure_while_it_is_asked_leaves_the_policy_as_it_was():
    policy, moving, _ = moved_apart(SyncConfig(every=1))
    before = copy.deepcopy(policy.state_dict())
    with pytest.raises(RuntimeError, match="lost"), moving.live():
        assert not torch.equal(policy.state_dict()["model.model.norm.weight"], before["model.model.norm.weight"])
        raise RuntimeError("lost")
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())


@pytest.mark.parametrize(("tied", "path"), [*product((True, False), ("shared", "plain"))])
def test_the_divergence_is_from_the_reference_s_own_head(tied, path):
    """A head that is trained, against a second model that holds the reference's weights."""
    policy, moving, _ = moved_apart(SyncConfig(every=1), tied=tied)
    policy.take(path, "asked for")
    second = Policy(tiny_llama(tied=tied), path=path)
    objective, groups = objectives.load("tdpo"), random_groups(6, k=2, seed=4)
    found = []
    for live in (moving.live, lambda: nullcontext(second)):
        learner = Learner(policy, objective, objective.settings(), ALONE, 60, "item", live)
        totals = step_gradient(learner, Step(0, groups))
        row = totals.reduce(ALONE, metric_names(learner, Step(0, groups)))
        found.append((row, [p.grad.clone() for p in policy.parameters()]))
        policy.zero_grad()
    (row, gradients), (other, expected) = found
    assert row == pytest.approx(other, rel=1e-6) and row["drift_chosen"] > 1e-2
    assert all(torch.allclose(one, two, rtol=1e-5, atol=1e-7) for one, two in zip(gradients, expected, strict=True))


@pytest.mark.slow
def test_a_model_in_memory_can_be_followed(world, tmp_path):
    """Where a standing second model could not be had."""
    held = load_model(world["model"])
    arguments = {**world, "model": held.model, "tokenizer": held.tokenizer, "objective": "tdpo"}
    rows, _ = run(arguments, tmp_path, **{"reference_sync.every": 4})
    assert of_kind(rows, "train")[3]["drift_chosen"] > 1e-4


@pytest.mark.slow
def test_an_adapter_that_was_loaded_begins_as_the_reference(world, tmp_path):
    """As it was loaded, not switched off: the first step's rewards are 0."""
    run(world, tmp_path / "first", finish=True, **{"lora": 4, "train.lr": 0.05})
    second = {"model": str(tmp_path / "first" / "run" / "model")}
    rows, _ = run({**world, **second}, tmp_path / "second", **{"reference_sync.every": 3})
    margins = [row["margin"] for row in of_kind(rows, "train")]
    assert margins[0] == margins[3] == 0 and min(margins[1], margins[2], margins[4]) > 1e-4


def test_its_memory_is_that_of_the_trained_weights():
    """Kept as the model computes where it is replaced, in float32 where it is averaged; doubled where bins ask it."""
    given = [(None, 1.0, False), (512, 1.0, False), (512, 0.6, False), (512, 1.0, True), (512, 0.6, True)]
    found = [weight_bytes(SyncConfig(every=every, alpha=a), 2, in_bins=bins) for every, a, bins in given]
    assert found == [0, 2, 4, 4, 6]
    _, moving, _ = moved_apart(SyncConfig(every=1, alpha=1), compute=torch.bfloat16)
    assert {value.dtype for value in moving.state().values()} == {torch.bfloat16}
    _, moving, _ = moved_apart(SyncConfig(every=1, alpha=0.6), compute=torch.bfloat16, stochastic=True)
    assert {value.dtype for value in moving.state().values()} == {torch.float32}
