"""The texts that a run on fresh responses imitates beside them: looked at as the data of a run that imitates alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ...data.prepared import Prepared
from ...findings import Finding
from ..setup import DataSet
from . import amount, tokens
from .tokens import Tokenised

MANY_CUT = 0.1
"""Share of the texts cut from which what is learned may be little but beginnings."""


def cut(scene: Tokenised) -> Finding:
    """Say how many texts go beyond the length limit, where they are cut."""
    report = scene.data.prepared.report
    share = report.exceeding / max(1, report.rows)
    figures: amount.Figures = {"texts": report.rows, "cut": report.exceeding, "cut_share": share}
    figures |= {f"{name}_tokens": length for name, length in report.percentiles.items()}
    longest = report.percentiles["max"]
    if not report.exceeding:
        says = f"All {report.rows:,} fit into tokens.max_length {report.max_length:,}; the longest has {longest:,}."
        return Finding("cut", "fine", says, figures=figures)
    says = (
        f"{report.exceeding:,} of {report.rows:,} go beyond tokens.max_length {report.max_length:,} (the longest has "
        f"{longest:,}), and what does is cut off and not learned."
    )
    if share <= MANY_CUT:
        return Finding("cut", "note", says, figures=figures)
    return Finding("cut", "look", says, "Divide long texts into rows of their own, or raise the limit.", figures)


CHECKS: tuple[tuple[str, Callable[[Tokenised], Finding]], ...] = (
    ("tokens_shown", tokens.shown),
    ("loss_mask", tokens.mask),
    ("sequence_ends", tokens.ends),
    ("unknown_tokens", amount.unknown_tokens),
    ("rows_lost", amount.rows_lost),
    ("cut", cut),
)
"""Checks of any data that serve texts too; none asks for a chat template, since texts are no answers."""


def look(check: Callable[[Tokenised], Finding], scene: Tokenised, texts: Prepared) -> Finding:
    """Make a check of the texts in place of the data; what it finds is named `texts_…`."""
    cut_off = scene.config.tokens.model_copy(update={"overflow": "truncate"})
    every = np.arange(len(texts.groups))
    found = check(
        replace(
            scene,
            config=scene.config.model_copy(update={"tokens": cut_off}),
            data=DataSet(texts, texts.groups, every, every[:0], None, None),
        )
    )
    return replace(found, name=f"texts_{found.name}", says=f"Texts: {found.says[0].lower()}{found.says[1:]}")
