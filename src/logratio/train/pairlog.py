"""What becomes of each held-out pair: its margin at every evaluation, and once its texts and lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..batch.group import Group
from ..batch.logps import Logps
from ..evaluate.measure import Scored
from ..files import write_rows
from .gradient import Learner
from .rundir import RunDirectory

PAIRS = 1000
"""Pairs that are kept, the first ones in the order of the held-out data; ties are passed over."""

VALUES = ("margin", "logratio_chosen", "logratio_rejected", "score_chosen", "score_rejected")
"""What is kept of each, as far as the objective measures it."""


@dataclass(frozen=True)
class PairLog:
    """Writes `margins.jsonl`, a line an evaluation, and `pairs.jsonl`, a line a pair in the same order.

    `margins.jsonl`: {"step", NAME: [P numbers], …} by the names in `VALUES`, nats.
    `pairs.jsonl`: {"row", "length_chosen", "length_rejected", "prompt", "chosen", "rejected", "ids"}: scored tokens as
    lengths, prompts decoded as those in `samples.jsonl` are, and the tokens of all three texts.

    Attributes:
        directory: The run's; only rank 0 writes.
        tokenizer: Turns ids into text.
    """

    directory: RunDirectory
    tokenizer: Any

    def keep(self, done: int, groups: Sequence[Group], logps: Logps, learner: Learner) -> None:
        """Write what the objective measures of each pair after `done` steps; nothing where pairs have no margin."""
        if not self.directory.writes or not any(len(group.edges) for group in groups):
            return
        scored = Scored.whole(groups, logps, learner.state)
        metrics = learner.objective.metrics(scored.logps, scored.batch, learner.settings)
        margin = metrics.get("margin")
        if margin is None or margin.unit != "edge":
            return
        every = np.ones(len(margin.value), np.bool_)
        decided = every if margin.weight is None else margin.weight.numpy() > 0
        kept = np.flatnonzero(decided)[:PAIRS]
        values = {name: metrics[name].value.detach().double().numpy()[kept] for name in VALUES if name in metrics}
        row = {name: [float(f"{value:.6g}") for value in own] for name, own in values.items()}
        self.directory.append("margins.jsonl", {"step": done, **row})
        file = self.directory.path / "pairs.jsonl"
        if done == 0 or not file.is_file():
            self._write_pairs(file, groups, scored, kept.tolist())

    def _write_pairs(self, file: Path, groups: Sequence[Group], scored: Scored, kept: Sequence[int]) -> None:
        edges = [(group, int(won), int(lost)) for group in groups for won, lost in group.edges]
        batch = scored.batch
        chosen_E, rejected_E = (batch.length_S[side].tolist() for side in (batch.winner_E, batch.loser_E))
        rows = (
            {
                "row": group.row,
                "length_chosen": int(chosen_E[at]),
                "length_rejected": int(rejected_E[at]),
                **self._texts(group, won, lost),
            }
            for at in kept
            for group, won, lost in [edges[at]]
        )
        write_rows(file, rows)

    def _texts(self, group: Group, won: int, lost: int) -> dict[str, Any]:
        ids = {
            "prompt": group.prompt.tolist(),
            "chosen": group.responses[won].tolist(),
            "rejected": group.responses[lost].tolist(),
        }
        texts = {name: self.tokenizer.decode(own, skip_special_tokens=name != "prompt") for name, own in ids.items()}
        return {**texts, "ids": ids}
