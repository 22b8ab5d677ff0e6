"""The cells of the matrix in docs/support.md: the gradient of one step in each, against one written out by itself."""

from dataclasses import dataclass

import torch

from logps.zoo import CONFIGS, build
from logratio import objectives
from logratio.config import LoraConfig
from logratio.logps.policy import Policy
from logratio.models import adapters
from logratio.testing.worlds import random_groups
from logratio.train import distributed
from logratio.train.gradient import Learner, step_gradient
from logratio.train.optim import Optimizer
from logratio.train.source import Step

PLAIN_ONLY = ("falcon", "mamba", "stablelm")
UNRUN = ("phimoe window",)
"""Nobody has looked at it in this way yet; what is taken out of here is run, and shown."""

NO_LORA = ("mixtral", "qwen3-moe", "phimoe window", "gpt-oss", "mamba")
"""Unrun with an adapter: of experts' fused weights peft warns, and all-linear names no module of Mamba."""

RUN = tuple(name for name in CONFIGS if name not in UNRUN)
TWO = (("llama", "all weights"), ("llama", "LoRA"), ("llama tied", "all weights"))
"""What two processes take the steps of one with, in float32, by `tests/train/test_train_processes.py`."""

PATHS, TRAINED, PRECISIONS = ("shared", "plain"), ("all weights", "LoRA"), ("fp32", "bf16")
BETA, BIN_TOKENS = 0.1, 60
EQUAL, TIMES = 2e-5, 4.0
"""Largest relative error in fp32; and in bf16 as a multiple of that of transformers' forward in bf16."""


@dataclass(frozen=True)
class Cell:
    """One combination."""

    architecture: str
    path: str
    trained: str
    precision: str


def cells():
    """Return the combinations that are run in one process."""
    return [
        Cell(architecture, path, trained, precision)
        for architecture in RUN
        for path in PATHS
        for trained in TRAINED
        for precision in PRECISIONS
        if (path == "plain" or architecture not in PLAIN_ONLY)
        and (trained == "all weights" or architecture not in NO_LORA)
    ]


def model_of(cell):
    """A small random model; its adapter, if any, is not at its start, where half of its gradient is 0."""
    model = build(cell.architecture, spread=0.1)
    model.config.output_router_logits = False  # the experts' own loss is no part of the step that is written out
    if cell.trained == "LoRA":
        model = adapters.create(model, LoraConfig(r=2, targets="all-linear"), seed=0)
        draw = torch.Generator().manual_seed(1)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.data = 0.1 * torch.randn(weight.shape, generator=draw)
    return model


def step():
    """Six pairs, some of whose tokens carry no loss."""
    return Step(0, random_groups(6, seed=3))


def gradient(cell):
    """Return the gradient of the step by name, as training computes it."""
    policy, alone = Policy(model_of(cell), path=cell.path), distributed.start("none")
    named = {name: weight for name, weight in policy.model.named_parameters() if weight.requires_grad}
    compute = torch.bfloat16 if cell.precision == "bf16" else None
    optimizer = Optimizer(named, kind="adamw", weight_decay=0.0, stochastic=False, seed=0, compute=compute)
    for weight in policy.parameters() if compute else ():
        if not weight.requires_grad:
            weight.data = weight.data.to(compute)
    dpo = objectives.load("dpo")
    step_gradient(Learner(policy, dpo, dpo.settings(beta=BETA), alone, BIN_TOKENS, dpo.scope), step())
    return {slot.name: slot.gradient.float().clone() for slot in optimizer.slots}


def written_out(cell, dtype=torch.float32):
    """Return the same with bare means: each response a row of its own, its whole log-softmax, and autograd."""
    model, losses = model_of(cell).to(dtype), []
    for group in step().groups:
        sums, reference = [], iter(group.columns.token["reference"].tolist())
        for response, mask in zip(group.responses, group.loss, strict=True):
            ids = torch.tensor([*group.prompt, *response])
            logp_LV = torch.log_softmax(model(ids[None]).logits[0].float(), -1)
            at = [len(group.prompt) + place for place, scored in enumerate(mask) if scored]
            sums.append(sum(logp_LV[place - 1, ids[place]] - next(reference) for place in at))
        losses.append(torch.nn.functional.softplus(-BETA * (sums[0] - sums[1])))
    torch.stack(losses).mean().backward()
    return {name: weight.grad.float() for name, weight in model.named_parameters() if weight.grad is not None}


def off(found, right):
    """Return ‖found − right‖ / ‖right‖ over all weights."""
    assert found.keys() >= right.keys() and not any(found[name].any() for name in found.keys() - right.keys())
    squares = [((found[name] - right[name]).square().sum(), right[name].square().sum()) for name in right]
    return float((sum(a for a, _ in squares) / sum(b for _, b in squares)).sqrt())


def failure(cell):
    """Return what is wrong with a cell's gradient, or None."""
    right = written_out(cell)
    error, most = off(gradient(cell), right), EQUAL
    if cell.precision == "bf16":
        most = TIMES * off(written_out(cell, torch.bfloat16), right)
    return None if error <= most else f"{cell}: off by {error:.1e}, where {most:.1e} is allowed"


def matrix():
    """Return the matrix as Markdown: what the tests run, and nothing else."""
    run = set(cells())
    lines = ["| architecture | shared, fp32 | shared, bf16 | plain, fp32 | plain, bf16 | two, fp32 | two, bf16 |"]
    lines.append("| --- " * 7 + "|")
    for name in CONFIGS:
        shown = []
        for path in PATHS:
            for precision in PRECISIONS:
                held = [trained[0].upper() for trained in TRAINED if Cell(name, path, trained, precision) in run]
                shown.append(" ".join(held) or ("cannot" if path == "shared" and name in PLAIN_ONLY else "unrun"))
        shown.append(" ".join(trained[0].upper() for other, trained in TWO if other == name) or "unrun")
        lines.append(f"| {name} | {' | '.join(shown)} | unrun |")
    return "\n".join(lines)
