"""The machine: cores, name, and what its matrix products reach, measured by `python -m bench.machine` in a process."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SIDE = 2048
TRIALS = 12


def describe(threads: int) -> dict[str, Any]:
    """Return the machine's name, cores and memory, the threads that are used of it, and this checkout's commit."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads,
        "memory": pages,
        "system": f"{platform.system()} {platform.release()}",
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Return the commit's short hash, with -dirty where files differ from it; None without git or outside a clone."""
    asked = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        told = subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()


def _processor() -> str:
    """Return the processor's name; where the system gives none, its family and widest vector instructions."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return platform.processor() or platform.machine()
    facts: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    flags = facts.get("flags", "").split()
    wide = [flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if flag in flags][:2]
    return f"{facts.get('model name') or platform.machine()} ({', '.join(wide) or 'no wide vectors known'})"


def peaks() -> dict[str, float]:
    """Return the best rate of a 2048³ matrix product, in operations a second, by precision."""
    return {name: max(rates(name, TRIALS)) for name in ("fp32", "bf16")}


def rates(precision: str, trials: int) -> list[float]:
    """Return the rate of a 2048³ matrix product, in operations a second, some times in turn."""
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    left, right, out = (torch.rand(SIDE, SIDE).to(dtype) for _ in range(3))
    torch.mm(left, right, out=out)
    return [2 * SIDE**3 / _seconds(left, right, out) for _ in range(trials)]


def _seconds(left: Any, right: Any, out: Any) -> float:
    import torch

    began = time.perf_counter()
    torch.mm(left, right, out=out)
    return time.perf_counter() - began


def peak_memory() -> int:
    """Return this process's largest resident memory, bytes.

    Linux keeps it by program (VmHWM); `ru_maxrss` would begin with that of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(peaks()), encoding="utf-8")
