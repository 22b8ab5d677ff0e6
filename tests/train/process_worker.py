"""What the processes of a test do: `torchrun … process_worker.py JOBS.json`, or `work(jobs)` in one process."""

import json
import sys
from pathlib import Path

import small_run
import torch
from safetensors.torch import save_file

from logratio import objectives
from logratio.config import LoraConfig
from logratio.logps.policy import Policy
from logratio.models.adapters import create
from logratio.train import distributed
from logratio.train.gradient import Learner, metric_names, step_gradient
from logratio.train.optim import Optimizer
from logratio.train.source import Step
from worlds import random_groups, tiny_llama, tiny_scorer

LORA = {"attention": ("q_proj", "v_proj"), "head": ("lm_head",)}
BIN_TOKENS = 60


def model_of(layout, dtype):
    """A random Llama: tied, untied, or with a LoRA adapter whose B is not 0 on attention or on the head; or scoring."""
    if layout in ("tied", "untied"):
        return tiny_llama(tied=layout == "tied", dtype=dtype)
    if layout == "score":
        return tiny_scorer(dtype=dtype)
    if layout == "score adapter":
        model = create(tiny_scorer(), LoraConfig(r=4, targets=LORA["attention"]), seed=0, head="score").to(dtype)
    else:
        model = create(tiny_llama(tied=False), LoraConfig(r=4, targets=LORA[layout]), seed=0).to(dtype)
    draw = torch.Generator().manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data = torch.randn(weight.shape, generator=draw, dtype=dtype) * 0.1
    return model


def step_of(index, objective):
    """Step `index` of five, the last of three groups only; bins hold `BIN_TOKENS`, so ranks get unequal ones."""
    labels = objective in ("kto", "bco")
    shape = {"k": 1 if labels else 2, "labels": labels, "mismatched": objective == "kto", "weights": True}
    groups = random_groups(3 if index == 4 else 16, seed=index, **shape)
    return Step(index, groups)


def steps(to, *, layout, objective, parallel, dtype):
    """Take five steps; rank 0 writes each step's metrics and gradient and the final weights."""
    world = distributed.start(parallel)
    policy = Policy(model_of(layout, getattr(torch, dtype)))
    distributed.wrap(policy, world, bf16=False)
    named = {name: weight for name, weight in policy.model.named_parameters() if weight.requires_grad}
    optimizer = Optimizer(named, kind="adamw", weight_decay=0.0, stochastic=False, seed=0)
    chosen = objectives.load(objective)
    learner = Learner(policy, chosen, chosen.settings(), world, BIN_TOKENS, chosen.scope)
    rows, tensors = [], {}
    for index in range(5):
        step = step_of(index, objective)
        rows.append(step_gradient(learner, step).reduce(world, metric_names(learner, step)))
        for slot in optimizer.slots:
            tensors[f"gradient{index}/{slot.name}"] = distributed.whole(slot.gradient).clone()
        optimizer.clip(1.0)
        optimizer.step(1e-4, index)
    tensors |= {f"weight/{name}": weight.clone() for name, weight in optimizer.weights().items()}
    if world.rank == 0:
        save_file(tensors, f"{to}.safetensors")
        Path(f"{to}.json").write_text(json.dumps(rows))


def run(to, **arguments):
    """Train a small run with output `to`."""
    small_run.run(**{"output": to, **arguments})


def work(jobs):
    """Do each [function, where to, arguments]."""
    torch.set_num_threads(1)
    for function, to, arguments in jobs:
        globals()[function](to, **arguments)


if __name__ == "__main__":
    work(json.loads(Path(sys.argv[1]).read_text()))
    distributed.stop()
