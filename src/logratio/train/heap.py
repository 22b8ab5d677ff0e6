"""How a process gets memory from the system: in large pages, and not again and again.

Every step allocates activations and gradients anew. Memory that goes back to the system in between is mapped and
cleared at its next touch, page by page, often while the other cores wait: on a virtual machine 1 to 3.7 s for each GB.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""Parameters of the C library's mallopt(3)."""
_LARGEST_THRESHOLD = 1 << 25
"""To which its own threshold for blocks outside the heap rises by and by."""
_MMAPS = 65536
"""Blocks outside the heap that it allows itself."""
_OURS = ("trim_threshold", "mmap_threshold", "mmap_max", "top_pad")
"""What the environment may say of these, as MALLOC_…_ or in GLIBC_TUNABLES, goes before what is set here."""


def use_huge_pages() -> None:
    """Have torch ask the system for huge pages for CPU tensors of 2 MiB and more; a choice already made stays.

    A first touch of each 4 KiB page is a call into the kernel: 3 to 9 % of a step's time. It counts until the process's
    first large tensor, and where the system has no huge pages it changes nothing.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


@contextmanager
def kept_heap() -> Iterator[None]:
    """Keep freed memory for the tensors to come, all sizes in one heap, until the block ends; then give it back.

    For the GNU C library; elsewhere, and where the environment has a say in it already, nothing changes. It holds for
    the whole process: afterwards the library's thresholds stay where they rise to by themselves, 32 and 64 MiB.
    """
    library = None if _set_up_already() else _gnu()
    if library is None:
        yield
        return
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        library.mallopt(_MMAP_MAX, _MMAPS)
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
        library.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_THRESHOLD)
        library.malloc_trim(0)


def give_back() -> None:
    """Give free memory back to the system: before what takes much of it at once, and seldom."""
    if (library := _gnu()) is not None:
        library.malloc_trim(0)


def _set_up_already() -> bool:
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return any(f"glibc.malloc.{name}" in tunables or f"MALLOC_{name.upper()}_" in os.environ for name in _OURS)


def _gnu() -> Any:
    """Return the C library if it is GNU's."""
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows has no such handle
        return None
    return library if hasattr(library, "gnu_get_libc_version") else None
