"""The table of formats, one file a family; a file's format is found by its columns, first match first."""

from __future__ import annotations

from itertools import chain

from ...errors import DataError
from ..problems import Unreadable
from ..schema import CARRIED
from . import judged, pairs, ranked, single
from .base import Format, Sample
from .guess import advice

FORMATS: tuple[Format, ...] = (*judged.FORMATS, *ranked.FORMATS, *pairs.FORMATS, *single.FORMATS)

FIELDS: tuple[str, ...] = tuple(
    dict.fromkeys(
        (
            *chain.from_iterable(chain.from_iterable(entry.columns) for entry in FORMATS),
            *("input", "output", "system", "tools", "score_ratio", *CARRIED),
        )
    )
)
"""Every field that some format reads: what `--map` can name."""

_STEPWISE = {"prompt", "completions", "labels"}


def sniff(sample: Sample) -> Format:
    """Return the format of a file.

    Args:
        sample: Its first readable rows, at least one.

    Raises:
        DataError: It holds step labels, pictures, sound or film; or it is of no known format.
    """
    for row in sample:
        try:
            row.refuse_media()
        except Unreadable as problem:
            raise DataError(f"{row.origin}: {problem}") from problem
    columns = set(chain.from_iterable(row.values for row in sample))
    for entry in FORMATS:
        if entry.matches(columns, sample):
            return entry
    if columns >= _STEPWISE:
        raise DataError(
            f"{sample[0].origin}: prompt/completions/labels is stepwise supervision (a label for every step), and no "
            "objective here learns from steps; bring prompt/completion/label, one label for the whole response"
        )
    raise DataError(f"{sample[0].origin}: {advice(sample)}")
