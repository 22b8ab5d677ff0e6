"""Progress bars and hints of libraries are switched off: a run has one voice."""

from __future__ import annotations

import logging as standard_logging


def no_bars() -> None:
    """Keep transformers from drawing bars while it reads or writes weights."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def no_kernel_hints() -> None:
    """Keep bitsandbytes, which PEFT imports where it is installed, from recommending kernels that nobody asked for."""
    standard_logging.getLogger("bitsandbytes").setLevel(standard_logging.ERROR)
