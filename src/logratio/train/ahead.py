"""The next step is read and packed while the present one runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Made = TypeVar("Made")


@contextmanager
def made_ahead(make: Callable[[int], Made], indices: range, *, thread: bool) -> Iterator[Iterator[Made]]:
    """Yield `make` of each index in turn, one made ahead of its use; no thread outlives the block.

    What `make` raises is raised where the thing would have been used.

    Args:
        make: Reads only what nobody writes meanwhile.
        indices: In the order of use.
        thread: Whether to make ahead at all; without, each is made when it is asked for.
    """
    if not thread:
        yield map(make, indices)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="next step") as worker:
        yield _one_ahead(worker, make, indices)


def _one_ahead(worker: ThreadPoolExecutor, make: Callable[[int], Made], indices: range) -> Iterator[Made]:
    if not indices:
        return
    coming = worker.submit(make, indices[0])
    for following in indices[1:]:
        made, coming = coming.result(), worker.submit(make, following)
        yield made
    yield coming.result()
