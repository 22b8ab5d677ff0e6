"""What the implicit reward has learned: how far named cues predict held-out margins, and which of them do."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from .. import cues
from ..errors import RunError
from ..files import read_rows, write_json
from ..findings import Drawing, Figure, Finding
from ..maths.intervals import Measure
from .explain import Explained, Floats, explain

Table = Callable[[Sequence[str], Sequence[str]], tuple[Sequence[str], Floats]]
"""(N texts, N prompts) → (C names, [N, C])."""

NAME = "implicit_reward"

MOSTLY = 0.5
"""Share of the margins from which on cues that anyone can see are most of what was learned."""

SHOWN, TOLD = 12, 4
"""Cues in the plot, and in the sentence."""

LEAST = 30
"""Pairs below which nothing is fitted."""


def learned(run: Path, *, table: Table = cues.table) -> list[Finding]:
    """Explain the margins of a run's held-out pairs by cues of their texts, and write `learned.json` beside them.

    The margins are those of the last evaluation, in the objective's units.

    Args:
        run: A run directory with `pairs.jsonl` and `margins.jsonl`.
        table: What is seen in a text; default the audit's shallow cues.

    Raises:
        RunError: The run kept no margins of pairs.
    """
    began = monotonic()
    rows, margins = _kept(run)
    margin = np.array(margins["margin"], np.float64)
    prompts = [row["prompt"] for row in rows]
    texts = [row["chosen"] for row in rows] + [row["rejected"] for row in rows]
    names, values = table(texts, prompts * 2)
    difference = values[: len(rows)] - values[len(rows) :]
    usable = len(rows) >= LEAST and bool(np.any(margin))
    found = explain(margin, difference, names, prompts) if usable else None
    finding = _nothing(margin) if found is None else _told(found, margin)
    finding = replace(finding, seconds=monotonic() - began)
    document = {"step": margins.get("step"), **({} if found is None else found.to_json())}
    write_json(run / "learned.json", {"findings": [finding.as_json()], **document})
    return [finding]


def _kept(run: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the held-out pairs and their margins at the last evaluation."""
    try:
        rows = read_rows(run / "pairs.jsonl")
        last = (run / "margins.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    except (FileNotFoundError, IndexError) as error:
        raise RunError(
            f"{run} holds no margins of held-out pairs (pairs.jsonl, margins.jsonl), so what was learned cannot be "
            "read off them; train on pairs with held-out data, with an objective that has a margin."
        ) from error
    margins = json.loads(last)
    if len(margins["margin"]) != len(rows):
        raise RunError(
            f"{run} has {len(rows)} pairs and {len(margins['margin'])} margins of them, so they do not belong "
            "together: the run was continued on other data; train it again, or put the data back."
        )
    return rows, margins


def _nothing(margin: Floats) -> Finding:
    figures: dict[str, Figure] = {"pairs": len(margin)}
    if len(margin) < LEAST:
        says = f"{len(margin)} held-out pairs are too few to say what the implicit reward has learned."
        return Finding(NAME, "note", says, f"Hold out at least {LEAST} pairs (eval.holdout, eval.data).", figures)
    return Finding(NAME, "note", "Every held-out margin is 0, so nothing was learned yet.", "", figures)


def _told(found: Explained, margin: Floats) -> Finding:
    share = found.share
    top = [cue for cue in found.cues if cue.clear][:TOLD]
    most = ", ".join(f"{cue.name} {cue.coefficient:+.2f}" for cue in top)
    mostly = share.low is not None and share.low > MOSTLY
    says = (
        f"Named cues explain {_range(share)} of the margins of {found.pairs} held-out pairs, fitted on other prompts; "
        + (f"the strongest: {most}." if top else "no single one stands out.")
    )
    figures: dict[str, Figure] = {
        "pairs": found.pairs,
        "prompts": found.prompts,
        "share_explained": share.mean,
        "share_explained_low": share.low,
        "share_explained_high": share.high,
        "margin_rms": float(np.sqrt((margin**2).mean())),
        **{f"coefficient of {cue.name}": cue.coefficient for cue in top},
    }
    remedy = (
        "What was learned can mostly be seen without reading: see in `logratio audit` whether the labels follow the "
        "same cues, and judge samples by something that does not."
    )
    return Finding(NAME, "look" if mostly else "note", says, remedy if mostly else "", figures, _drawing(found))


def _drawing(found: Explained) -> Drawing:
    shown = found.cues[:SHOWN]
    return Drawing(
        kind="bars",
        title="What goes with a larger implicit reward",
        x_label="cue, chosen minus rejected",
        y_label="standardised coefficient",
        x=[cue.name for cue in shown],
        series={
            "coefficient": [cue.coefficient for cue in shown],
            "lower end of 95 %": [cue.low for cue in shown],
            "upper end of 95 %": [cue.high for cue in shown],
        },
        note="Typical margins by which a pair's margin rises where the cue's difference is typical, others held fixed; "
        "shrunken by ridge regression.",
    )


def _range(share: Measure) -> str:
    if share.mean is None:
        return "an unknown share"
    ends = "" if share.low is None or share.high is None else f" [{share.low:.0%}, {share.high:.0%}]"
    return f"{share.mean:.0%}{ends}"
