"""Progress bars of the library are switched off: a run has one voice."""

from __future__ import annotations


def no_bars() -> None:
    """Keep transformers from drawing bars while it reads or writes weights."""
    from transformers.utils import logging

    logging.disable_progress_bar()
