"""Time from the start of `logratio train` to its first step, phase by phase, on data and reference cached before.

The parent writes a Llama of random weights with a small tokenizer and pairs of random words, and runs the command once
to fill the caches. Then it runs it again, in processes that note when each phase ends and stop after the first step.
Wall and CPU seconds are given: on a machine that does other work only the second say much. Phases are of runs without
preflight; how much later the first step begins with it stands beside.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from .shapes import SHAPES

PAIRS = 64
PHASES = {
    "torch": "importing torch, which is the floor",
    "recipe": "command line, recipe and its checks",
    "imports": "importing what trains",
    "tokenizer": "model's config and tokenizer",
    "data": "data, from the cache",
    "model": "model and its name",
    "path": "choosing the path",
    "rest": "optimiser, memory, reference from the cache, evaluation",
    "step": "the first step",
}
"""Phase → what it is; a phase lasts from the end of the one before it."""
ASSEMBLED = {"tokenizer_of": "tokenizer", "data_set": "data", "policy_of": "model", "wrap_policy": "path"}
"""Function of `train.assemble` → the phase that ends with it."""


def prepare(folder: Path, size: str) -> None:
    """Write model, tokenizer and data."""
    import numpy as np
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    shape = SHAPES[size]
    torch.manual_seed(0)
    config = shape.config()
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder / "model")
    words = {f"w{i}": i for i in range(shape.vocabulary - 2)}
    words |= {"</s>": len(words), "<unk>": len(words) + 1}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")
    tokenizer.save_pretrained(folder / "model")
    rng = np.random.default_rng(0)

    def text(mean: int) -> str:
        return " ".join(f"w{i}" for i in rng.integers(0, len(words) - 2, int(rng.integers(mean // 2, 2 * mean))))

    rows = [{"prompt": text(80), "chosen": text(40), "rejected": text(40)} for _ in range(PAIRS)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def child(arguments: list[str]) -> None:
    """Run `logratio` with these arguments, note the end of each phase, stop after the first step."""
    import_module("torch")
    ends: list[tuple[str, float, float]] = []

    def note(phase: str) -> None:
        ends.append((phase, time.time() - float(os.environ["BENCH_BEGAN"]), time.process_time()))

    def noting(owner: Any, name: str, after: Callable[[], None], before: Callable[[], None] = lambda: None) -> None:
        own: Callable[..., Any] = getattr(owner, name)

        def noted(*given: Any, **named: Any) -> Any:
            before()
            result = own(*given, **named)
            after()
            return result

        setattr(owner, name, noted)

    def inside() -> None:
        note("recipe")
        import_module("logratio.train.api")  # the next thing that the command does
        from logratio.train import assemble, loop

        note("imports")
        for name, phase in ASSEMBLED.items():
            noting(assemble, name, partial(note, phase))
        noting(loop, "_train_step", stop, before=lambda: note("rest"))

    def stop() -> None:
        note("step")
        print("PHASES " + json.dumps(ends), flush=True)
        os._exit(0)

    note("torch")
    from logratio.train import recipe

    noting(recipe, "resolve", inside)
    from logratio.cli.app import main as command

    command(arguments)


def measure(folder: Path, name: str, *, preflight: bool) -> list[tuple[str, float, float]]:
    """Run the command in a process; return phases with wall and CPU seconds at their ends."""
    command = ["train", "--model", str(folder / "model"), "--data", str(folder / "pairs.jsonl")]
    command += ["--output", str(folder / name), "--batch-size", "8", "--eval.holdout", "0"]
    command += [] if preflight else ["--no-preflight"]
    environment = {**os.environ, "LOGRATIO_CACHE": str(folder / "cache"), "BENCH_BEGAN": str(time.time())}
    run = [sys.executable, "-c", "import sys; from bench.startup import child; child(sys.argv[1:])", *command]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    found = [line.removeprefix("PHASES ") for line in done.stdout.splitlines() if line.startswith("PHASES ")]
    if not found:
        raise SystemExit(f"the run failed:\n{done.stdout}\n{done.stderr}")
    return [(phase, wall, cpu) for phase, wall, cpu in json.loads(found[0])]


def _first_step_begins(runs: list[list[tuple[str, float, float]]]) -> float:
    """Return the median of seconds by the clock until the last phase before the step has ended."""
    return statistics.median(next(wall for phase, wall, _ in run if phase == "rest") for run in runs)


def help_seconds() -> tuple[float, float]:
    """Return wall and CPU seconds of `logratio --help`."""
    began, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-m", "logratio", "--help"], capture_output=True, check=True)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, used


def main(arguments: list[str]) -> int:
    """Print seconds by phase: medians over repeats."""
    parser = argparse.ArgumentParser(prog="python -m bench start-up", description=__doc__)
    parser.add_argument("--size", choices=SHAPES, default="60m")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, given.size)
        measure(folder, "first", preflight=True)
        runs, checked = [], []
        for i in range(given.repeats):
            runs.append(measure(folder, f"run{i}", preflight=False))
            checked.append(measure(folder, f"checked{i}", preflight=True))
    helps = [help_seconds() for _ in range(given.repeats)]
    rows: list[dict[str, Any]] = []
    for i, (phase, _, _) in enumerate(runs[0]):
        begun = [run[i - 1] if i else ("", 0.0, 0.0) for run in runs]
        wall = statistics.median(run[i][1] - before[1] for run, before in zip(runs, begun, strict=True))
        cpu = statistics.median(run[i][2] - before[2] for run, before in zip(runs, begun, strict=True))
        reached = statistics.median(run[i][1] for run in runs)
        rows.append({"phase": phase, "wall": wall, "cpu": cpu, "reached": reached})
    helping = [statistics.median(seconds) for seconds in zip(*helps, strict=True)]
    begins = {name: _first_step_begins(found) for name, found in (("without", runs), ("with", checked))}
    shown = {"size": given.size, "help": helping, "phases": rows, "first step begins": begins}
    if given.json:
        print(json.dumps(shown, indent=1))
        return 0
    print(f"logratio --help: {helping[0]:.2f} s ({helping[1]:.2f} s CPU)")
    print(f"logratio train, {given.size}, cached data and reference; median of {given.repeats}")
    print(f"  {'phase':12}{'s':>7}{'CPU s':>7}{'at s':>7}")
    for row in rows:
        print(f"  {row['phase']:12}{row['wall']:7.2f}{row['cpu']:7.2f}{row['reached']:7.2f}  {PHASES[row['phase']]}")
    print(f"the first step begins after {begins['without']:.2f} s, with preflight after {begins['with']:.2f} s")
    return 0
