"""Further prompts in place of those whose responses are all judged alike: `rollout.redraw`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from ..batch.group import Group
from ..errors import LogratioError
from ..maths.counter import stream
from .drawn import Row, dead
from .source import FileSource

Judged = tuple[list[Row], LogratioError | None]
"""Rows, and the error of a judge that stopped."""


def filled(
    draw: Callable[[Sequence[Group]], Judged], prompts: Sequence[Group], further: Iterator[Group], tries: int
) -> tuple[list[list[Row]], LogratioError | None]:
    """Draw for prompts, and for further ones in place of those that turn out dead: DAPO's dynamic sampling.

    Yu et al. 2025 (arXiv:2503.14476), section 3.2, with a limit: a place whose prompts were dead at every try keeps the
    last of them.

    Args:
        draw: Prompts → rows, one each.
        prompts: One for each place of the phase.
        further: What may take a place; where it ends, the dead stay.
        tries: How often dead ones are replaced, ≥ 0.

    Returns:
        The rows of each place, those marked `replaced` first and the one to learn from last; the error of a judge that
        stopped.
    """
    rows, failure = draw(prompts)
    places = [[row] for row in rows]
    for _ in range(tries):
        lost = [place for place in places if dead(place[-1])]
        others = list(islice(further, len(lost)))
        if failure is not None or not others:
            break
        rows, failure = draw(others)
        for place, row in zip(lost, rows, strict=False):  # there may be fewer further prompts than dead ones
            place[-1]["replaced"] = True
            place.append(row)
    return places, failure


def further(source: FileSource, phase: int, taken: Sequence[Group]) -> Iterator[Group]:
    """Yield the training prompts that a phase does not have yet, each once, in an order of the phase's own."""
    seen = {group.prompt.tobytes() for group in taken}
    for at in stream(source.seed, "redraw", phase).permutation(len(source.positions)):
        group = source.groups[int(source.positions[at])]
        if (name := group.prompt.tobytes()) not in seen:
            seen.add(name)
            yield group
