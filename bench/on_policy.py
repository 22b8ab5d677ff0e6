"""`python -m bench on-policy`: a step of GRPO against TRL's, generation, judging and update together, in turn.

Both sides draw K responses a prompt at temperature 1 from the same random weights, which hardly ever end one, so that
all have the same length; the judge counts a letter. TRL 1.16 has no PPO; ours is measured beside, alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from . import environment, machine, process, texts, workload
from .peer_grpo import VARIANTS
from .shapes import POSITIONS

JUDGE = "def score(prompts, responses, rows):\n    return [text.count('e') / 10 for text in responses]\n"
SIZES = ("7m", "60m")


def main(arguments: list[str]) -> int:
    """Measure and print; the ratio is of the medians of a round's steps after the first."""
    parser = argparse.ArgumentParser(prog="python -m bench on-policy", description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--prompts", type=int, default=8, help="a step")
    parser.add_argument("--k", type=int, default=4, help="responses a prompt")
    parser.add_argument("--tokens", type=int, default=64, help="length of a response")
    parser.add_argument("--steps", type=int, default=4, help="of which the first is not counted")
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("build") / "bench" / "on-policy.json")
    options = parser.parse_args(arguments)
    try:
        python = environment.ensure(environment.default())
        results = [_case(size, options, python) for size in options.sizes]
    except (texts.DataMissing, environment.EnvironmentMissing, process.RunFailed) as error:
        print(f"on-policy: {error}", file=sys.stderr)
        return 1
    options.out.parent.mkdir(parents=True, exist_ok=True)
    told = {"machine": machine.describe(options.threads), "trl": environment.TRL, "cases": results}
    options.out.write_text(json.dumps(told, indent=1), encoding="utf-8")
    print(f"written: {options.out}")
    return 0


def _case(size: str, options: argparse.Namespace, python: Path) -> dict[str, Any]:
    """Try TRL's variants for two steps, then run both sides in turn."""
    given = workload.write(size, "hh", 8)
    rows = [json.loads(line) for line in given.data.read_text(encoding="utf-8").splitlines()]
    spec = {
        "model": str(given.model),
        "prompts": [row["prompt"] for row in rows][: options.prompts * options.steps],
        "prompts_a_step": options.prompts,
        "k": options.k,
        "tokens": options.tokens,
        "max_length": POSITIONS,
        "steps": options.steps,
        "beta": 0.04,
        "lr": 1e-6,
        "threads": options.threads,
    }
    print(f"{size}: {options.prompts} prompts a step, {options.k} responses of {options.tokens} tokens", flush=True)
    responses = options.prompts * options.k
    trials = {
        name: process.on_policy({**spec, "steps": 2, "variant": name}, python)
        for name, at_once in VARIANTS.items()
        if at_once < responses and responses % max(1, at_once) == 0
    }
    best = min(trials, key=lambda name: _step(trials[name]))
    for name, run in trials.items():
        print(f"  trial of TRL, {name}: {_step(run):.2f} s, {run['peak_memory'] / 1e9:.2f} GB", flush=True)
    rounds = []
    for number in range(options.repeats):
        found = {
            "GRPO": process.on_policy({**spec, "objective": "grpo"}),
            "TRL, GRPO": process.on_policy({**spec, "variant": best}, python),
            "PPO": process.on_policy({**spec, "objective": "ppo"}),
        }
        rounds.append(found)
        told = (f"{name} {_step(run):.2f} s {run['peak_memory'] / 1e9:.2f} GB" for name, run in found.items())
        print(f"  {number + 1}/{options.repeats}  " + " · ".join(told), flush=True)
    ratios = [_step(found["TRL, GRPO"]) / _step(found["GRPO"]) for found in rounds]
    print(f"  TRL/ours, a step of GRPO: {statistics.median(ratios):.1f} [{min(ratios):.1f}, {max(ratios):.1f}]")
    lengths = {name: run["tokens"] / run["responses"] for name, run in rounds[0].items()}
    print("  tokens a response: " + ", ".join(f"{name} {mean:.1f}" for name, mean in lengths.items()))
    return {"size": size, "best": best, "trials": trials, "rounds": rounds, "ratios": ratios}


def _step(run: dict[str, Any]) -> float:
    """Return the median time from one step's end to the next one's, seconds."""
    ends: list[float] = run["ends"]
    return statistics.median(later - earlier for earlier, later in pairwise(ends))


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Train by our own side, in this process."""
    import torch

    from logratio import train
    from logratio.train.events import Event

    from .peer import peak_memory

    torch.set_num_threads(spec["threads"])
    output, ends = Path(spec["output"]), []
    judge = output.parent / "judge.py"
    judge.write_text(JUDGE, encoding="utf-8")

    def listen(event: Event) -> None:
        if event.kind == "train":
            ends.append(time.time())

    train(
        spec["model"],
        [{"prompt": prompt} for prompt in spec["prompts"]],
        {"name": spec["objective"], **({"beta": spec["beta"]} if spec["objective"] == "grpo" else {})},
        judge=f"{judge}:score",
        rollout={"k": spec["k"], "max_new_tokens": spec["tokens"]},
        output=str(output),
        template="none",
        tokens={"max_length": spec["max_length"]},
        eval={"holdout": 0, "samples": 0},
        every={"eval": 1, "checkpoint": 1},
        train={
            "batch_size": spec["prompts_a_step"],
            "epochs": 1,
            "lr": spec["lr"],
            "schedule": "constant",
            "precision": "fp32",
        },
        on_event=listen,
    )
    phases = [row for file in sorted((output / "rollouts").glob("*.jsonl")) for row in _rows(file)]
    lengths = [len(tokens) for row in phases for tokens in row["tokens"]]
    return {"ends": ends, "responses": len(lengths), "tokens": sum(lengths), "peak_memory": peak_memory()}


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(
        json.dumps(run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))), encoding="utf-8"
    )
