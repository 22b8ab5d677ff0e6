"""The memory estimate is made of the model's own sizes."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import small_run
import torch
from peft import LoraConfig as PeftConfig
from peft import get_peft_model
from small_run import run, world
from torch import nn

from bench import startup
from bench.shapes import Shape
from logratio.config import TrainConfig
from logratio.logps.head import held_bytes
from logratio.train.distributed import World
from logratio.train.memory import GIB, Estimate, bin_budget, estimate
from logratio.train.optim import Optimizer
from logratio.train.units import count, size
from logratio.train.validate import Validation
from worlds import VOCABULARY, tiny_llama, tiny_scorer

ALONE = World(0, 1, "none", torch.device("cpu"))


def test_weights_gradients_moments_and_activations_by_hand():
    model = tiny_llama()
    count = sum(weight.numel() for weight in model.parameters())
    found = estimate(model, TrainConfig(), bf16=False, world=ALONE)
    assert (found.weights, found.gradients, found.moments) == (4 * count, 4 * count, 8 * count)
    assert found.per_token == 2 * (16 * 32 + 3 * 64 + 4 * 256) * 4  # layers, widths, heads' weights, bytes
    assert found.head == 4 * VOCABULARY * (4096 + 32)  # a bin's logits, and the gradient of the head's weight
    assert found.ahead == 12 * count + found.head
    half = estimate(model, TrainConfig(optimizer="rmsprop", checkpointing=True), bf16=True, world=ALONE)
    assert (half.weights, half.gradients, half.moments) == (6 * count, 4 * count, 4 * count)
    assert (found.width, half.width) == (4, 2)
    assert half.per_token == 2 * 32 * 2 + (16 * 32 + 3 * 64 + 4 * 256) * 2
    assert half.head == 2 * VOCABULARY * (4096 + 32) + 4 * VOCABULARY * 512  # and a chunk in float32 beside


def test_a_head_that_does_not_learn_holds_one_chunk_and_a_reward_models_none():
    model = tiny_llama()
    model.requires_grad_(False)
    assert estimate(model, TrainConfig(), bf16=False, world=ALONE).head == 4 * 512 * VOCABULARY
    assert estimate(tiny_scorer(), TrainConfig(), bf16=False, world=ALONE).head == 0
    assert estimate(nn.Linear(8, 1), TrainConfig(), bf16=False, world=ALONE).head == 0


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft reads transformers' old name
def test_a_head_with_an_adapter_learns_and_one_too_large_to_be_kept_is_added_up_in_parts():
    model = get_peft_model(tiny_llama(tied=False), PeftConfig(r=2, target_modules=["lm_head"]))
    assert estimate(model, TrainConfig(), bf16=False, world=ALONE).head == 4 * VOCABULARY * (4096 + 32)
    V, D, rows = 1 << 17, 64, 1024  # 2^27 logits
    chunk, kept = 256 * V, 1 << 26
    assert held_bytes(V, D, rows=rows, width=4, learns=True, cpu=True) == 4 * (1 << 25) + 4 * V * D
    assert held_bytes(V, D, rows=rows, width=2, learns=True, cpu=True) == 2 * kept + 4 * (1 << 20) + 6 * V * D
    assert held_bytes(V, D, rows=rows, width=2, learns=True, cpu=False) == 2 * kept + 4 * chunk + 6 * V * D
    assert held_bytes(V, D, rows=rows, width=2, learns=False, cpu=False) == (2 + 4) * chunk


def test_a_second_model_beside_the_first_is_counted():
    model = tiny_llama()
    count = sum(weight.numel() for weight in model.parameters())
    alone, both = (estimate(model, TrainConfig(), bf16=True, world=ALONE, second_model=second) for second in (0, 1))
    assert (alone.second, both.second) == (0, 2 * count) and both.ahead == alone.ahead + 2 * count
    assert "second model" in both.line(512) and "second model" not in alone.line(512)


def test_replicated_weights_are_held_gathered_too():
    model = tiny_llama()
    count = sum(weight.numel() for weight in model.parameters())
    world = World(0, 2, "replicate", torch.device("cpu"))
    assert estimate(model, TrainConfig(), bf16=True, world=world).gathered == 2 * count


@pytest.mark.parametrize(
    ("free", "device", "tokens"),
    [
        (100, "cpu", 1024),
        (5, "cpu", 512),
        (100, "cuda", 32768),
        (10, "cuda", 4 * 1024),
        (6, "cuda", 1228),
        (5, "cuda", 512),
        (0, "cuda", 512),
    ],
)
def test_a_bin_takes_what_is_left_beside_gradients_and_moments(free, device, tokens):
    """The weights are in place when free memory is read; 0.7 of it may be used, here at 1 MiB a token."""
    found = Estimate(
        weights=50 * GIB, gathered=0, gradients=1 * GIB, moments=2 * GIB, per_token=1 << 20, head=0, free=free * GIB
    )
    assert bin_budget(found, torch.device(device)) == tokens


@pytest.mark.parametrize(("per_token", "tokens"), [(1 << 10, 4096), (1 << 17, 2048), (1 << 18, 1024), (1 << 22, 1024)])
def test_on_a_cpu_a_bin_takes_no_memory_that_makes_it_no_faster(per_token, tokens):
    found = Estimate(weights=0, gathered=0, gradients=0, moments=0, per_token=per_token, head=0, free=100 * GIB)
    assert bin_budget(found, torch.device("cpu")) == tokens
    assert bin_budget(replace(found, width=2), torch.device("cpu")) == max(tokens, 2048)


def test_a_run_states_the_estimate_of_its_model(tmp_path):
    said = []

    def listen(event):
        said.extend(event.data["lines"] if event.kind == "open" else [])

    run(**world(tmp_path, n=16), output=tmp_path / "run", on_event=listen)
    line = next(line for line in said if line.startswith("memory:"))
    # 4,096 · 2 · (16·16 + 3·24 + 2·256) · 4 B = 26.25 MiB
    assert "activations 26.2 MiB for bins of 4096 tokens" in line
    assert "weights 0" not in line and "moments 0" not in line  # a model of 6,000 weights


@pytest.mark.parametrize(
    ("n", "things", "bytes_"),
    [
        (0, "0", "0 B"),
        (640, "640", "640 B"),
        (999, "999", "999 B"),
        (7_088, "7.09K", "6.92 KiB"),
        (999_600, "1.00M", "976 KiB"),
        (28_352, "28.4K", "27.7 KiB"),
        (12_345_678, "12.3M", "11.8 MiB"),
        (1_235_814_400, "1.24B", "1.15 GiB"),
    ],
)
def test_counts_and_sizes_have_three_digits_and_a_unit(n, things, bytes_):
    assert (count(n), size(n)) == (things, bytes_)


MEASURED = r"""
import json, re, sys
from pathlib import Path
from logratio import train

told = {}

def memory(name):
    return int(re.search(name + r":\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

def listen(event):
    if event.kind == "open":
        told["line"] = next(line for line in event.data["lines"] if line.startswith("memory:"))
        told["before"] = memory("VmRSS")
    elif event.kind == "train":
        told["after"] = memory("VmHWM")

folder = sys.argv[1]
settings = {"eval": {"holdout": 0, "samples": 0}, "train": {"batch_size": 8, "lr": 1e-6, "precision": "fp32"}}
settings["train"]["bin_tokens"] = 1024
train(folder + "/model", folder + "/pairs.jsonl", output=folder + "/run", on_event=listen, preflight=False, **settings)
print(json.dumps(told))
"""
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read as Linux tells it")
def test_what_a_real_run_takes_is_what_its_line_says(tmp_path, monkeypatch):
    """The peak on top of weights and libraries; the head is a third of it, so that a line without it would be found."""
    wide = Shape(hidden=256, layers=2, heads=4, kv_heads=4, inner=704, vocabulary=65536, tied=False)
    monkeypatch.setitem(startup.SHAPES, "wide", wide)
    startup.prepare(tmp_path, "wide")
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(pairs.read_text(encoding="utf-8").splitlines(keepends=True)[:24]), encoding="utf-8")
    asked = [sys.executable, "-c", MEASURED, str(tmp_path)]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, cwd=Path(startup.__file__).parents[1])
    told = json.loads(done.stdout.splitlines()[-1])
    items = re.findall(r"(gradients|moments|activations|head) ([\d.]+) (\w+)", told["line"])
    assert len(items) == 4, told["line"]
    expected = sum(float(size) * UNITS[unit] for _, size, unit in items)
    assert 0.8 < (told["after"] - told["before"]) / expected < 1.3, (told, expected)


def test_gradients_leave_their_memory_to_an_evaluation_and_to_a_checkpoint(tmp_path, monkeypatch):
    """In bfloat16 it stays from step to step, which the estimate counts on for bins alone."""
    held = {"evaluate": [], "state": [], "step": []}
    made = []

    def watched(owner, name, key):
        plain = getattr(owner, name)

        def call(self, *given, **named):
            if isinstance(self, Optimizer) and self not in made:
                made.append(self)
            held[key].append(sum(slot.summed is not None for optimizer in made for slot in optimizer.slots))
            return plain(self, *given, **named)

        monkeypatch.setattr(owner, name, call)

    watched(Validation, "__call__", "evaluate")
    watched(Optimizer, "state", "state")
    watched(Optimizer, "step", "step")
    small_run.run(
        **small_run.world(tmp_path), **{"train.precision": "bf16", "every.eval": 0.5, "every.checkpoint": 0.25}
    )
    assert len(held["step"]) > 2 and min(held["step"]) > 0
    assert len(held["evaluate"]) == 3 and set(held["evaluate"] + held["state"]) == {0}
