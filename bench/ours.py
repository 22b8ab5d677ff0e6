"""Our side, in a process of its own: `python -m bench.ours SPEC RESULT` runs the product as a person would."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from .machine import peak_memory


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Train by the public interface; return marks in time, losses and peak memory.

    The phases' borders are events: `open` (all is loaded, the reference pass begins), the evaluation at step 0 (the
    reference is complete), the first and the last `train` (an update is made).
    """
    import torch

    from logratio import train
    from logratio.train.events import Event

    torch.set_num_threads(spec["threads"])
    marks: dict[str, tuple[float, float]] = {}
    losses: list[float] = []
    lines: list[str] = []

    def listen(event: Event) -> None:
        if event.kind == "open":
            marks["open"] = now()
            lines.extend(event.data["lines"])
        elif event.kind == "eval" and event.data["step"] == 0:
            marks["ready"] = now()
        elif event.kind == "train":
            marks["trained"] = now()
            marks.setdefault("warm", marks["trained"])
            losses.append(event.data["row"]["loss"])

    train(spec["model"], spec["data"], {"name": "dpo", "beta": spec["beta"]}, **recipe(spec), on_event=listen)
    shared = [line for line in lines if line.startswith(("prompts:", "memory:"))]
    marks["left"] = now()
    return {"marks": marks, "losses": losses, "peak_memory": peak_memory(), "path": shared}


def recipe(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe's keys: nothing is held out or sampled, one checkpoint at the end, and the peer's settings."""
    return {
        "output": spec["output"],
        "template": "none",
        "tokens": {"max_length": spec["max_length"], "overflow": "error"},
        "eval": {"holdout": 0, "samples": 0},
        "every": {"eval": 1, "checkpoint": 1},
        "train": {
            "batch_size": spec["groups_a_step"],
            "epochs": 1,
            "lr": spec["lr"],
            "schedule": "constant",
            "warmup": 0,
            "clip": spec["clip"],
            "weight_decay": 0,
            "precision": spec["precision"],
            "seed": spec["seed"],
        },
    }


def now() -> tuple[float, float]:
    """Return (wall clock, seconds of processor time of this process)."""
    return time.time(), time.process_time()


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(
        json.dumps(run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))), encoding="utf-8"
    )
