"""`python -m bench profile`: where the time of the reference pass and of training goes, part by part."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch

from . import texts, work, workload
from .machine import peaks
from .shapes import SHAPES
from .within import train_here

PARTS = {
    "products of the blocks": ("aten::linear", "MmBackward0"),
    "head": ("_Head", "_HeadBackward"),
    "attention": ("_Strips", "_StripsBackward"),
    "norms": ("_Norm", "_NormBackward"),
    "gated products": ("_Gated", "_GatedBackward"),
    "adding up gradients": ("torch::autograd::AccumulateGrad",),
    "update of the weights": ("Optimizer.step#AdamW.step",),
    "clipping": ("aten::_foreach_norm",),
}
"""Part → names of the profiler's events that make it up; none holds another."""


def main(arguments: list[str]) -> int:
    """Profile one run and print a table for each phase."""
    parser = argparse.ArgumentParser(
        prog="python -m bench profile",
        description="One DPO run of the product on real pairs under PyTorch's profiler, which itself takes some time: "
        "shares are of the profiled time. Needed is what the products that nobody can avoid would take at the matrix "
        "peak of the same minute.",
    )
    parser.add_argument("--size", choices=SHAPES, default="60m")
    parser.add_argument("--data", choices=texts.FORMS, default="hh")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: as many as torch takes")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    given = workload.write(options.size, options.data, options.steps)
    top = peaks()[options.precision]
    found = {name: table(phase) for name, phase in profiled(given, options.precision).items()}
    needed = {
        "reference": work.forward(given.shape, given.lengths).useful / top,
        "training": work.training(given.shape, given.lengths).useful / top,
    }
    if options.json:
        print(json.dumps({"phases": found, "needed": needed, "peak": top}, indent=1))
    else:
        print(f"{options.size} · {options.data} · {options.precision}, matrix peak {top / 1e9:.0f} GFLOP/s")
        for name, rows in found.items():
            print("\n".join(text(name, rows, needed[name])))
    return 0


def profiled(given: workload.Workload, precision: str) -> dict[str, tuple[float, dict[str, float]]]:
    """Run the product; return for each phase its seconds and those of every kind of event in it."""
    from torch.profiler import ProfilerActivity, profile

    from logratio.train.events import Event

    found: dict[str, tuple[float, dict[str, float]]] = {}
    running: list[tuple[Any, float]] = []

    def start() -> None:
        watch = profile(activities=[ProfilerActivity.CPU], acc_events=True)
        watch.start()
        running.append((watch, time.perf_counter()))

    def stop(name: str) -> None:
        watch, began = running.pop()
        seconds = time.perf_counter() - began
        watch.stop()
        found[name] = seconds, {each.key: each.cpu_time_total / 1e6 for each in watch.key_averages()}

    def listen(event: Event) -> None:
        if event.kind == "open":
            start()
        elif event.kind == "eval" and event.data["step"] == 0:
            stop("reference")
            start()
        elif event.kind == "eval":
            stop("training")

    train_here(given, precision, listen)
    return found


def table(phase: tuple[float, dict[str, float]]) -> dict[str, float]:
    """Return seconds by part; what no part names is `everything else`, all of it `in all`."""
    seconds, events = phase
    rows = {part: sum(events.get(name, 0.0) for name in names) for part, names in PARTS.items()}
    return {**rows, "everything else": seconds - sum(rows.values()), "in all": seconds}


def text(name: str, rows: dict[str, float], needed: float) -> list[str]:
    """Return a phase's table."""
    lines = [f"\n| {name} | s | share |", "| --- | ---: | ---: |"]
    lines += [f"| {part} | {s:.2f} | {100 * s / rows['in all']:.1f} % |" for part, s in rows.items() if s > 0.0005]
    return [*lines, f"| needed, at the matrix peak | {needed:.2f} | {100 * needed / rows['in all']:.1f} % |"]
