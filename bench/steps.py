"""`python -m bench steps`: each step of a run against the matrix peak of the same seconds, and the kernel's part."""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time

from . import work, workload
from .machine import TRIALS, peak_memory, rates
from .shapes import SHAPES
from .within import train_here

Clock = tuple[float, float, float, float]
"""Seconds by the clock, in the program and in the kernel, and page faults."""


def main(arguments: list[str]) -> int:
    """Run one training and print a row for each step."""
    parser = argparse.ArgumentParser(
        prog="python -m bench steps",
        description="One DPO run of the product on real pairs. On a shared machine the peak moves by a quarter within "
        "minutes, so that it is measured before and after every step: the step's share is of the mean of both.",
    )
    parser.add_argument("--size", choices=SHAPES, default="60m")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    options = parser.parse_args(arguments)
    given = workload.write(options.size, "hh", options.steps)
    rows = watched(given, options.precision)
    print("\n".join(table(given, rows)))
    print(f"peak memory {peak_memory() / 1e9:.2f} GB")
    return 0


def watched(given: workload.Workload, precision: str) -> list[tuple[Clock, float]]:
    """Run the product; return what each step took and the matrix peak around it, operations a second."""
    from logratio.train.events import Event

    rows: list[tuple[Clock, float]] = []
    began: list[tuple[Clock, float]] = []

    def look(finished: bool) -> None:
        ended, peak = _now(), max(rates(precision, TRIALS // 2))
        if finished:
            before, earlier = began[-1]
            spent = [now - then for now, then in zip(ended, before, strict=True)]
            rows.append(((spent[0], spent[1], spent[2], spent[3]), (earlier + peak) / 2))
        began.append((_now(), peak))

    def listen(event: Event) -> None:
        if event.kind == "eval" and event.data["step"] == 0:
            look(finished=False)
        elif event.kind == "train":
            look(finished=True)

    train_here(given, precision, listen, preflight=False)
    return rows


def _now() -> Clock:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime, used.ru_stime, float(used.ru_minflt)


def table(given: workload.Workload, rows: list[tuple[Clock, float]]) -> list[str]:
    """Return a line for each step, and the median share of all but the first."""
    lines = [
        "| step | s | in the program, processor s | in the kernel | page faults | peak, GFLOP/s | share |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    shares = []
    for number, ((seconds, program, kernel, faults), peak) in enumerate(rows):
        shares.append(_useful(given, number) / peak / seconds)
        lines.append(
            f"| {number + 1} | {seconds:.2f} | {program:.2f} | {kernel:.2f} | {faults:,.0f} | {peak / 1e9:.0f} | "
            f"{100 * shares[-1]:.1f} % |"
        )
    later = shares[1:] or shares
    spread = f"[{100 * min(later):.1f}, {100 * max(later):.1f}]"
    return [*lines, f"median share of the steps after the first: {100 * statistics.median(later):.1f} % {spread}"]


def _useful(given: workload.Workload, step: int) -> int:
    """Return the necessary work of one step."""
    held = json.loads(given.tokens.read_text(encoding="utf-8"))
    size, lengths = held["groups_a_step"], given.lengths
    return work.training(given.shape, [lengths[i] for i in held["order"][step * size : (step + 1) * size]]).useful
