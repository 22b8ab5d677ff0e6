"""`python -m bench vs-trl`: DPO training against TRL's DPOTrainer, everything equal but the implementation."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from pathlib import Path
from typing import Any

from . import environment, machine, page, rounds, table, texts, workload
from .peer import VARIANTS
from .process import RunFailed
from .shapes import SHAPES

USUAL = (("7m", "hh"), ("7m", "short"), ("7m", "long"), ("7m", "k8"), ("60m", "hh"), ("135m", "hh"))
"""Cases that are measured where none are named."""

STEPS = {("7m", "hh"): 8, ("7m", "short"): 8, ("7m", "k8"): 8, ("60m", "hh"): 8, ("60m", "k8"): 8}
"""Steps of a case where `--pairs` does not say; 2 for all others, which take minutes a step."""


def main(arguments: list[str]) -> int:
    """Measure, print, and write `results.json` and `report.html`; or reprint results."""
    options = _parser().parse_args(arguments)
    if options.show is not None:
        print(table.text(json.loads(options.show.read_text(encoding="utf-8"))))
        return 0
    try:
        rounds.check_variants(options.variants)
        results = _measure(options)
    except (texts.DataMissing, environment.EnvironmentMissing, ValueError, RunFailed) as error:
        print(f"vs-trl: {error}", file=sys.stderr)
        return 1
    print(table.text(results))
    print(f"written: {options.out / 'results.json'}, {options.out / 'report.html'}")
    return 0 if all(case["agreement"] is None or case["agreement"]["agree"] for case in results["cases"]) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench vs-trl",
        description="Train by DPO with logratio and with TRL in turn, on the same weights, tokens and batches. Without "
        "--sizes and --data: " + ", ".join(" ".join(case) for case in USUAL) + "; about 45 minutes on 2 cores.",
    )
    add = parser.add_argument
    add("--sizes", nargs="+", choices=SHAPES, help="shapes of the model")
    add("--data", nargs="+", choices=texts.FORMS, help="; ".join(f"{k}: {v}" for k, v in texts.FORMS.items()))
    add("--pairs", type=int, help="pairs a case, a multiple of 8 (k8: as many prompts as hh has steps, 7 pairs each)")
    add("--repeats", type=int, default=3, help="rounds; default 3")
    add("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32"], help="of both sides; TRL: autocast")
    add("--threads", type=int, default=_cores(), help="of both sides; default: the cores of this process")
    add("--variants", nargs="+", default=list(rounds.USUAL), help=f"of TRL: {', '.join(VARIANTS)}")
    add("--ours-only", action="store_true", help="leave TRL out")
    add("--trl-env", type=Path, default=environment.default(), help="TRL's environment; made if absent")
    add("--out", type=Path, default=Path("build") / "bench" / "vs-trl", help="folder of the results")
    add("--show", type=Path, metavar="RESULTS", help="reprint a results.json and leave")
    return parser


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run all cases; results are written after each, so that a stopped benchmark keeps what it has."""
    python = None if options.ours_only else environment.ensure(options.trl_env)
    results: dict[str, Any] = {
        "benchmark": "vs-trl",
        "date": datetime.date.today().isoformat(),
        "machine": machine.describe(options.threads),
        "versions": {
            "ours": environment.own_versions(),
            "trl": {} if python is None else environment.versions(options.trl_env),
        },
        "gpu": "not measured",
        "cases": [],
    }
    print(table.heading(results), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    for size, form in _cases(options):
        given = workload.write(size, form, _steps(options, size, form))
        for precision in options.precision:
            print(f"  {size} · {form} · {precision}", flush=True)
            plan = rounds.Plan(options.repeats, options.threads, precision, python, options.variants, _say)
            results["cases"].append(rounds.measure(given, plan))
            (options.out / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
            page.write(results, options.out / "report.html")
    return results


def _cases(options: argparse.Namespace) -> list[tuple[str, str]]:
    if options.sizes is None and options.data is None:
        return list(USUAL)
    return [(size, form) for size in options.sizes or ["60m"] for form in options.data or ["hh"]]


def _steps(options: argparse.Namespace, size: str, form: str) -> int:
    if options.pairs is None:
        return STEPS.get((size, form), 2)
    if options.pairs < 16 or options.pairs % 8:
        raise ValueError(
            f"--pairs is {options.pairs}, but must be a multiple of 8, at least 16: all steps are whole, and a first "
            "step alone has a loss of log 2 whatever it computes."
        )
    return int(options.pairs // 8)


def _say(line: str) -> None:
    print(line, flush=True)
