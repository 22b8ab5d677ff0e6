"""One run of one side, in a fresh process with a fresh cache; what it returns is divided into phases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .peer import KEPT, VARIANTS

PHASES = ("setup", "reference", "training", "saving")
"""Setup: start, imports, loading, checks. Saving: what follows the last update, until the process has ended."""

CLOCKS = ("wall", "cpu")
"""Seconds by the clock, and seconds of processor time of the side's process."""

HERE = Path(__file__).resolve().parent
Spec = dict[str, Any]
Marks = Mapping[str, Sequence[float]]
"""Name → time of the clock, and processor seconds of the process until then."""


class RunFailed(Exception):
    """A side ended with an error; its last lines are the text."""


def ours(spec: Spec) -> dict[str, Any]:
    """Run our side; return phases, losses, peak memory and the path taken."""
    found, started, ended = _run([sys.executable, "-m", "bench.ours"], spec)
    return _result("ours", "", found, our_phases(found["marks"], started, ended), ended - started)


def peer(spec: Spec, python: Path) -> dict[str, Any]:
    """Run the peer's side with a variant of its settings; return the same."""
    command = [str(python), "-P", str(HERE / "peer.py")]  # -P: no module here hides one of theirs
    found, started, ended = _run(command, spec, KEPT if VARIANTS[spec["variant"]].get("kept") else {})
    return _result("trl", spec["variant"], found, peer_phases(found, started, ended), ended - started)


def on_policy(spec: Spec, python: Path | None = None) -> dict[str, Any]:
    """Run steps on fresh responses, our own or with the peer's interpreter; return what that side wrote."""
    command = [sys.executable, "-m", "bench.on_policy"] if python is None else [str(python), "-m", "bench.peer_grpo"]
    return _run(command, spec)[0]


def our_phases(marks: Marks, started: float, ended: float) -> dict[str, Any]:
    """Return seconds by phase and clock: the borders are marks, one after another."""
    borders: list[Sequence[float]] = [[started, 0.0], marks["open"], marks["ready"], marks["trained"]]
    spent = {name: _between(*borders[at : at + 2]) for at, name in enumerate(PHASES[:-1])}
    return {**spent, "saving": _saving(marks, ended)}


def peer_phases(found: Mapping[str, Any], started: float, ended: float) -> dict[str, Any]:
    """Return the same for the peer, whose reference is no stretch of its own.

    One inside the steps (live) is taken out of their time, one before them (precomputed) out of setup.
    """
    marks, reference = found["marks"], dict(zip(CLOCKS, found["reference"], strict=True))
    setup, steps = _between([started, 0.0], marks["begin"]), _between(marks["begin"], marks["trained"])
    holder = steps if found["reference_inside"] else setup
    for clock in CLOCKS:
        holder[clock] -= reference[clock]
    return {"setup": setup, "reference": reference, "training": steps, "saving": _saving(marks, ended)}


def peaks(threads: int) -> dict[str, float]:
    """Return what matrix products reach at this moment, by precision, measured in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "peaks.json"
        _call([sys.executable, "-m", "bench.machine", str(path)], _environment(threads, scratch))
        found: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
        return found


def _between(began: Sequence[float], over: Sequence[float]) -> dict[str, float]:
    return {clock: over[at] - began[at] for at, clock in enumerate(CLOCKS)}


def _saving(marks: Marks, ended: float) -> dict[str, float]:
    return _between(marks["trained"], [ended, marks["left"][1]])


def _result(side: str, variant: str, found: dict[str, Any], spent: dict[str, Any], wall: float) -> dict[str, Any]:
    kept = {name: found[name] for name in ("losses", "peak_memory", "path")}
    later = _between(found["marks"]["warm"], found["marks"]["trained"])  # a live reference of the peer included
    return {"side": side, "variant": variant, "phases": spent, "later": later, "wall": wall, **kept}


def _run(command: list[str], spec: Spec, more: Mapping[str, str] | None = None) -> tuple[dict[str, Any], float, float]:
    """Run one side; return what it wrote, and when it was started and had ended."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "spec.json").write_text(json.dumps({**spec, "output": str(folder / "run")}), encoding="utf-8")
        started = time.time()
        environment = {**_environment(spec["threads"], scratch), **(more or {})}
        _call([*command, str(folder / "spec.json"), str(folder / "result.json")], environment)
        ended = time.time()
        return json.loads((folder / "result.json").read_text(encoding="utf-8")), started, ended


def _environment(threads: int, scratch: str) -> dict[str, str]:
    """Return the variables of a side: as many threads, empty caches, no network, no chatter, no GPU on either side."""
    fresh = {"LOGRATIO_CACHE": "logratio", "HF_HOME": "hf", "HF_DATASETS_CACHE": "datasets"}
    return {
        **os.environ,
        **{name: str(Path(scratch) / folder) for name, folder in fresh.items()},
        **{name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")},
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
    }


def _call(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, env=environment, cwd=HERE.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunFailed(f"{' '.join(command[:3])} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")
