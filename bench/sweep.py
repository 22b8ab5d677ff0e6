"""What a sweep over three values of β costs, in single runs: with its reference pass, and with that cached.

Every command is a process of its own. A single run with cached tokens and reference is the unit; the same with an empty
reference cache tells what one pass costs. Sweeps share the start of the process, so that a stricter figure is given
too: what each further run of a sweep adds, in single runs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from . import machine, workload
from .shapes import SHAPES

BETAS = "0.05,0.1,0.5"
RUNS = 3
SETTINGS = ("--batch-size", "8", "--eval.holdout", "0.1", "--eval.samples", "0", "--every.eval", "1.0", "--lr", "1e-6")
CASES = {
    "run": "one run, reference cached",
    "run+pass": "one run and its reference pass",
    "sweep": "sweep over three β, reference cached",
    "sweep+pass": "sweep over three β and its reference pass",
}


def command(case: str, given: workload.Workload, output: Path) -> list[str]:
    """Return the command line of a case."""
    words = ["--model", str(given.model), "--data", str(given.data), *SETTINGS, "--output", str(output)]
    verb = ["sweep", "--grid", f"objective.beta={BETAS}"] if case.startswith("sweep") else ["train", "--beta", "0.1"]
    return [sys.executable, "-m", "logratio", *verb, *words]


def measure(case: str, given: workload.Workload, cache: Path, threads: int) -> dict[str, float]:
    """Run a case with cached tokens, and with the reference's log-probs cached or not; return wall and CPU seconds."""
    if case.endswith("+pass"):
        shutil.rmtree(cache / "reference", ignore_errors=True)
    environment = {**os.environ, "LOGRATIO_CACHE": str(cache), "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as scratch:
        began, before = time.perf_counter(), _children()
        words = command(case, given, Path(scratch) / "out")
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return {"wall": time.perf_counter() - began, "cpu": _children() - before}


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ratios(round_: dict[str, dict[str, float]], clock: str) -> dict[str, float]:
    """Return one round's costs in single runs with a cached reference.

    Returns:
        pass: a reference pass; cached: the sweep with that cached; paid: the sweep with its pass, less one pass;
        further: what each run after the first adds, the process's start not among it.
    """
    took = {case: round_[case][clock] for case in CASES}
    one, once = took["run"], took["run+pass"] - took["run"]
    return {
        "pass": once / one,
        "cached": took["sweep"] / one,
        "paid": (took["sweep+pass"] - once) / one,
        "further": (took["sweep"] - one) / (RUNS - 1) / one,
    }


def main(arguments: list[str]) -> int:
    """Measure rounds of all cases in turn, print medians with their range, and write JSON where asked."""
    parser = argparse.ArgumentParser(prog="python -m bench sweep", description=__doc__)
    parser.add_argument("--size", choices=SHAPES, default="7m")
    parser.add_argument("--steps", type=int, default=8, help="of 8 pairs each")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    parser.add_argument("--json", type=Path, help="where all figures go")
    given = parser.parse_args(arguments)
    rounds: list[dict[str, dict[str, float]]] = []
    work = workload.write(given.size, "hh", given.steps)
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name)
        measure("run+pass", work, cache, given.threads)  # fills the cache of tokens, and the system's of files
        for number in range(given.repeats):
            rounds.append({case: measure(case, work, cache, given.threads) for case in ("run+pass", "run")})
            rounds[-1] |= {case: measure(case, work, cache, given.threads) for case in ("sweep+pass", "sweep")}
            told = ", ".join(f"{case} {took['wall']:.1f} s" for case, took in rounds[-1].items())
            print(f"{number + 1}/{given.repeats}: {told}", flush=True)
    found: dict[str, Any] = {
        "machine": machine.describe(given.threads),
        "size": given.size,
        "workload": work.facts(),
        "rounds": rounds,
        "ratios": {clock: [ratios(each, clock) for each in rounds] for clock in ("wall", "cpu")},
    }
    if given.json:
        given.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    _show(found)
    return 0


def _show(found: dict[str, Any]) -> None:
    where = found["machine"]
    print(
        f"\n{where['processor']}, {where['threads']} threads; {found['size']}, {found['workload']['steps']} steps of 8"
    )
    lines = {
        "pass": "a reference pass",
        "cached": f"{CASES['sweep']} (at most {RUNS + 0.05:g})",
        "paid": f"{CASES['sweep+pass']}, less one pass (at most {RUNS + 0.05:g})",
        "further": "each further run of a sweep, the start of the process not among it",
    }
    print(f"{'in single runs, median [least, most]':70}{'wall':>20}{'CPU':>20}")
    for name, about in lines.items():
        cells = []
        for clock in ("wall", "cpu"):
            values = [each[name] for each in found["ratios"][clock]]
            cells.append(f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]")
        print(f"{about:70}{cells[0]:>20}{cells[1]:>20}")
