import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from small_run import RECIPE, metrics, pairs, run, start_model, world
from test_train_waiting import ENDS, Device

from logratio import objectives
from logratio.logps.policy import Policy
from logratio.maths.noise import noise_scale
from logratio.train.distributed import World
from logratio.train.gradient import Learner, step_gradient
from logratio.train.noise_scale import NOISE, SIGNAL, estimates, pooled, small_square
from logratio.train.optim import Optimizer
from logratio.train.source import Step
from worlds import random_groups, tiny_llama

ALONE = World(0, 1, "none", torch.device("cpu"))


def learner_of(name="dpo", *, bin_tokens=60, dtype=torch.float64):
    objective = objectives.load(name)
    policy = Policy(tiny_llama(dtype=dtype), path="shared")
    learner = Learner(policy, objective, objective.settings(), ALONE, bin_tokens, objective.scope)
    named = dict(policy.named_parameters())
    return learner, Optimizer(named, kind="adamw", weight_decay=0, stochastic=False, seed=0)


def gradient(learner, optimizer, step):
    step_gradient(learner, step)
    found = torch.cat([slot.gradient.flatten() for slot in optimizer.slots])
    for slot in optimizer.slots:
        slot.clear()
    return found


@pytest.mark.parametrize("bin_tokens", [1, 10**6])
def test_it_is_the_norm_of_the_mean_over_a_quarter_of_the_groups(bin_tokens):
    learner, optimizer = learner_of(bin_tokens=bin_tokens)
    groups = random_groups(9)
    each = torch.stack([gradient(learner, optimizer, Step(0, [group])) for group in groups])
    seen = set()
    for index in range(30):
        found, one = small_square(learner, optimizer, Step(index, groups))
        assert one == 1 and all(slot.gradient is None for slot in optimizer.slots)
        squares = {(i, j): each[[i, j]].mean(0).square().sum().item() for j in range(9) for i in range(j)}
        nearest = min(squares, key=lambda own: abs(squares[own] - found.item()))
        assert found.item() == pytest.approx(squares[nearest], rel=1e-9)
        seen.add(nearest)
    assert len(seen) > 10  # which groups are drawn changes from step to step


def test_over_all_draws_the_estimates_are_those_of_the_groups_own_gradients():
    """Of eight groups two are drawn: over 60 steps the mean noise is the trace of their gradients' covariance."""
    learner, optimizer = learner_of(bin_tokens=10**6)
    groups = random_groups(8)
    each = torch.stack([gradient(learner, optimizer, Step(0, [group])) for group in groups])
    norm = each.mean(0).norm().item()
    steps = [Step(index, groups) for index in range(60)]
    rows = [estimates(small_square(learner, optimizer, step)[0].item(), norm, step) for step in steps]
    spread = each.var(0, correction=1).sum().item()
    found = [row[NOISE] for row in rows]
    error = torch.tensor(found).std().item() / len(found) ** 0.5
    assert sum(found) / len(found) == pytest.approx(spread, abs=3 * error)
    assert pooled(rows).mean == noise_scale([row[SIGNAL] for row in rows], found).mean


def test_it_says_nothing_of_one_group_or_of_an_objective_without_losses_of_its_own():
    learner, optimizer = learner_of()
    assert small_square(learner, optimizer, Step(0, random_groups(1))) is None
    learner, optimizer = learner_of("aot")
    assert small_square(learner, optimizer, Step(0, random_groups(8))) is None


def test_a_probe_waits_for_the_device_equally_often_whatever_its_bins():
    waits = []
    for bin_tokens in (10**6, 1):
        learner, optimizer = learner_of(bin_tokens=bin_tokens, dtype=torch.float32)
        device = Device()
        device.put([*learner.policy.parameters(), *learner.policy.buffers()])
        with device:
            small_square(learner, optimizer, Step(0, random_groups(16)))
        waits.append(device.waits)
    assert waits[0] == waits[1] and 0 < len(waits[0]) <= ENDS


@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param({"lora": {"r": 2, "alpha": 4}}, marks=pytest.mark.slow),
        pytest.param({"train.precision": "bf16"}, marks=pytest.mark.slow),
    ],
)
def test_probing_leaves_every_other_number_of_a_run_as_it_is(settings, tmp_path):
    start = start_model(tmp_path / "start")
    made = {}
    for name, probed in (("plain", {}), ("probed", {"every.noise_scale": 0.2})):
        run(model=str(start), data=pairs(60), output=tmp_path / name, **settings, **probed)
        made[name] = metrics(tmp_path / name)
    probes = [row for row in made["probed"] if SIGNAL in row]
    assert len(probes) == 5 and all(row["kind"] == "train" for row in probes)
    assert [{k: v for k, v in row.items() if k not in (SIGNAL, NOISE)} for row in made["probed"]] == made["plain"]
    for file in (tmp_path / "plain" / "model").glob("*.safetensors"):
        other = load_file(tmp_path / "probed" / "model" / file.name)
        assert all(torch.equal(weight, other[name]) for name, weight in load_file(file).items())
    reported = json.loads((tmp_path / "probed" / "evaluation.json").read_text())["gradient_noise_scale"]
    assert reported == pooled(probes).to_json() and reported["n"] == 5
    assert "gradient_noise_scale" not in json.loads((tmp_path / "plain" / "evaluation.json").read_text())


def test_weights_and_unequal_steps_are_counted():
    """The last step of an epoch is smaller; its estimates use its own size."""
    step = Step(3, random_groups(8))
    few = replace(step, groups=step.groups[:3])
    assert estimates(2.0, 1.0, step) == {SIGNAL: (8 - 2 * 2) / 6, NOISE: 1 / (1 / 2 - 1 / 8)}
    assert estimates(2.0, 1.0, few) == {SIGNAL: (3 - 2) / 2, NOISE: 1 / (1 - 1 / 3)}


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path):
    recipe = {**world(tmp_path), **RECIPE, "every.noise_scale": 0.2, "eval.samples": 0}
    for name, launch in (
        ("one", ()),
        ("two", ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")),
    ):
        options = [str(word) for key, value in recipe.items() for word in (f"--{key}", value)]
        command = [sys.executable, *launch, "-m", "logratio", "train", *options, "--output", str(tmp_path / name)]
        subprocess.run(command, env={**os.environ, "LOGRATIO_CACHE": str(tmp_path)}, check=True, timeout=300)
    one, two = ([row for row in metrics(tmp_path / name) if SIGNAL in row] for name in ("one", "two"))
    assert [row["step"] for row in one] == [row["step"] for row in two] and len(one) == 5
    for own, other in zip(one, two, strict=True):
        for key in (SIGNAL, NOISE):
            assert other[key] == pytest.approx(own[key], rel=1e-3, abs=1e-6 * own["grad_norm"] ** 2)
