"""Memory comes from the system in large pages, and once: real processes, counted by their page faults."""

import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest

HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
SMALL_PAGES = resource.getpagesize() == 4096 and not (HUGE.is_file() and "[always]" in HUGE.read_text())
gnu = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not SMALL_PAGES, reason="not the GNU C library, or pages other than of 4 KiB"
)
FIRST_TOUCH = """
import resource, torch
from logratio.train.heap import use_huge_pages
{call}
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
tensors = [torch.ones(1 << 24) for _ in range(4)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(call: str) -> int:
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    script = FIRST_TOUCH.format(call=call)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not HUGE.is_file() or "[madvise]" not in HUGE.read_text(), reason="no huge pages on request here")
def test_large_tensors_lie_in_huge_pages():
    assert _faults("use_huge_pages()") < _faults("pass") / 8


CHURN = """
import resource, torch
from contextlib import nullcontext
from logratio.train.heap import kept_heap

def held():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) >> 10

def step():  # blocks below and above the size from which the library leaves its heap
    return [torch.ones(n << 18) for n in (3, 40, 17, 80, 5)]

before = held()
with {block}:
    for _ in range(6):
        step()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    within = held() - before
print(faults, within, held() - before)
"""


def churned(block, **more):
    """Return page faults of five steps once warm, and MiB held at the block's end and after it."""
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("MALLOC_", "GLIBC_", "THP_"))}
    done = subprocess.run(
        [sys.executable, "-c", CHURN.format(block=block)],
        env={**clean, **more},
        capture_output=True,
        text=True,
        check=True,
    )
    return map(int, done.stdout.split())


@gnu
def test_memory_is_touched_once_within_the_block_and_given_back_behind_it():
    faults, within, after = churned("kept_heap()")
    assert within >= 145 and after < 20
    anew, _, _ = churned("nullcontext()")
    assert faults < anew / 3 and anew > 5 * 20_000  # 120 MiB of every step lie outside the heap


@gnu
@pytest.mark.parametrize(
    "setting", [{"MALLOC_TRIM_THRESHOLD_": "65536"}, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=65536"}]
)
def test_a_choice_already_made_stays(setting):
    faults, _, _ = churned("kept_heap()", **setting)
    assert faults > 5 * 20_000
