"""Train on the CPU and on an emulated device without float64, and write how far apart the runs are.

`python device_worker.py JOBS.json`, jobs being [folder, arguments of `small_run.run`]; a process of its own, since a
device must be known before the first backward pass.
"""

import json
import sys
from pathlib import Path

import small_run

import emulated_device
from logratio import evaluate


def both(folder, arguments):
    """Run in either place; return (largest relative difference, where) over all measured numbers."""
    rows = small_run.labelled if arguments.get("objective") == "kto" else small_run.pairs
    given = {**small_run.world(folder, n=24, rows=rows), **arguments}
    here = _metrics(folder, "here", given)
    with emulated_device.emulated():
        there = _metrics(folder, "there", given)
    apart = [
        (abs(one[key] - other[key]) / (1 + abs(one[key])), f"{one['kind']} {one['step']} {key}")
        for one, other in zip(here, there, strict=True)
        for key in one.keys() | other.keys()
        if isinstance(one[key], float)
    ]
    return max(apart)


def _metrics(folder, name, given):
    said = []
    hear = {"on_event": lambda event: said.extend(event.data["lines"]) if event.kind == "open" else None}
    run = small_run.run(**given, **hear, cache=folder / f"cache-{name}", output=str(folder / name))
    assert any(line.startswith("device: emulated for models, the CPU for") for line in said) == (name == "there"), said
    rows = small_run.metrics(run.directory)
    if given["objective"] != "dpo":
        return rows
    result = evaluate(str(run.directory), data=given["data"], samples=4, max_new_tokens=6)
    measured = {key: value["mean"] for key, value in result.items() if isinstance(value, dict) and "mean" in value}
    return [*rows, {"kind": "evaluate", "step": 0, **measured}]


if __name__ == "__main__":
    REGISTERED = emulated_device.register()
    jobs = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(json.dumps([both(Path(folder), arguments) for folder, arguments in jobs]))
