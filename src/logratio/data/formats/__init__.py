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

    Columns of any row count, so that one may lack what another has; but a format that needs what most rows lack gives
    way to one that most rows have the columns of.

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
    found = _matching(columns, sample)
    if found is not None:
        usual = {name for name in columns if 2 * sum(name in row.values for row in sample) > len(sample)}
        return found if found.needs(usual) else _matching(usual, sample) or found  # a stray row decides nothing
    if columns >= _STEPWISE:
        raise DataError(
            f"{sample[0].origin}: prompt/completions/labels is stepwise supervision (a label for every step), and no "
            "objective here learns from steps; bring prompt/completion/label, one label for the whole response."
        )
    raise DataError(f"{sample[0].origin}: {advice(sample)}")


def _matching(columns: set[str], sample: Sample) -> Format | None:
    return next((entry for entry in FORMATS if entry.matches(columns, sample)), None)
