"""Where in the model a run's change lies: how far weights moved, and what undoing each part costs of the margin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from ..batch.group import Group
from ..batch.packed import pack
from ..errors import RunError
from ..files import read_rows, write_json
from ..findings import Finding
from ..logps.policy import Policy, choose_path
from ..logps.subject import Subject, opened, reference_of, subject_of
from ..maths.intervals import Measure, mean_interval
from ..models.adapters import is_peft
from ..models.load import Loaded
from ..models.merge import merged
from .apart import Apart
from .measure import prompt_numbers
from .places import Costs, cost_finding, weight_finding
from .restore import OUTSIDE, Moved, Part, Restoring, moved, parts, sums, weights
from .texts import Wanted

PAIRS = 200
"""Held-out pairs that margins are taken of, spread over all of them."""


def where(run: Path, *, data: Any = None, pairs: int = PAIRS, bin_tokens: int = 1 << 13) -> list[Finding]:
    """Locate a run's change in its model, and write `where.json` beside it.

    Adapters are merged into the weights first. Each layer is put back to the reference's weights by itself, each block
    of a layer by itself, and all layers one after another from the bottom; after each, the margins of held-out pairs
    are taken. Both models are in memory.

    Args:
        run: The directory of a finished run.
        data: Held-out pairs; default those that the run kept in `pairs.jsonl`.
        pairs: At most so many of them.
        bin_tokens: Tokens a forward pass may hold.

    Returns:
        `weight_change` and `margin_by_layer`.

    Raises:
        LogratioError: There is no model, no reference with the same architecture, or no pairs; one sentence each.
    """
    began = monotonic()
    subject = subject_of(str(run))
    if subject.config is None:
        raise RunError(
            f"{run} is no run directory (config.yaml is missing); give the folder that `logratio train` wrote."
        )
    if subject.head == "score":
        raise RunError(f"{run} trained a reward model, which has no margin against a reference; leave --where out.")
    with opened(subject.source) as (own, _):
        against = reference_of(subject, own, None)
        if against is None:
            raise RunError(f"{run} has no reference, so there is nothing to put back; leave --where out.")
        base = own.base
        groups = _chosen(_kept(run) if data is None else _read(subject, own, data), pairs)
        policy = Policy(_plain(own).model)
        choose_path(policy, pack(groups[:4]))
        with opened(against.source or base, against.fingerprint) as (other, _):
            whole = _plain(other).model
            reference = Policy(whole)
            reference.take(policy.path, "as the policy's")
            known = sums(reference, groups, bin_tokens=bin_tokens)
            theirs = {name: weight.cpu() for name, weight in whole.state_dict().items()}
        own_weights = weights(policy.model)
        asked = Restoring(policy, own_weights, theirs, groups, known, subject.beta, bin_tokens)
        located = _located(asked)
    findings = located.findings()
    findings[-1] = replace(findings[-1], seconds=monotonic() - began)
    document = {"findings": [found.as_json() for found in findings], "reference": against.text, **located.to_json()}
    write_json(run / "where.json", document)
    return findings


@dataclass(frozen=True)
class Located:
    """What was found, layer by layer.

    Attributes:
        change: Layer → module → how far its weights moved.
        costs: What restoring costs; None where there is no margin to lose.
        margin: The held-out margin with everything in place.
    """

    change: Mapping[str, Mapping[str, Moved]]
    costs: Costs | None
    margin: Measure

    def findings(self) -> list[Finding]:
        """Return them as findings."""
        return [weight_finding(self.change), cost_finding(self.margin, self.costs)]

    def to_json(self) -> dict[str, Any]:
        """Return them as plain JSON values."""
        change = {
            layer: {module: {"change": own.change**0.5, "relative": own.relative} for module, own in modules.items()}
            for layer, modules in self.change.items()
        }
        costs = None if self.costs is None else self.costs.to_json()
        return {"margin": self.margin.to_json(), "weights": change, "costs": costs}


def _located(asked: Restoring) -> Located:
    placed = parts(asked.own)
    far = moved(asked.own, asked.reference)
    change: dict[str, dict[str, Moved]] = {}
    for part in placed:
        modules = change.setdefault(part.layer, {})
        modules[part.module] = modules.get(part.module, Moved()) + far[part.name]
    prompts = prompt_numbers(asked.groups)
    everything = asked.margins()
    margin = mean_interval(everything, clusters=prompts.tolist())
    if not (margin.mean and margin.mean > 0 and (margin.low is None or margin.low > 0)):
        return Located(change, None, margin)
    changed = [part for part in placed if far[part.name].change > 0]

    def cost(names: Sequence[str]) -> Measure:
        return mean_interval(everything - asked.margins(names), clusters=prompts.tolist())

    by_layer = {layer: list(own) for layer, own in groupby(sorted(changed, key=_order), key=lambda part: part.layer)}
    singly = {layer: cost([part.name for part in own]) for layer, own in by_layer.items()}
    blocks = {
        layer: {block: cost([part.name for part in own if part.block == block]) for block in _blocks(own)}
        for layer, own in by_layer.items()
    }
    left, restored = [], []
    for own in by_layer.values():
        restored += [part.name for part in own]
        left.append(float(asked.margins(restored).mean()))
    return Located(
        change, Costs(singly, blocks, dict(zip(by_layer, left, strict=True)), len(set(change) - {OUTSIDE})), margin
    )


def _order(part: Part) -> tuple[bool, int]:
    """Sort what lies outside the layers last."""
    outside = part.layer == OUTSIDE
    return outside, 0 if outside else int(part.layer.split()[-1])


def _blocks(own: Sequence[Part]) -> list[str]:
    return list(dict.fromkeys(part.block for part in own))


def _plain(own: Loaded) -> Loaded:
    return merged(own) if is_peft(own.model) else own


def _chosen(groups: Sequence[Group], most: int) -> list[Group]:
    """Return at most so many pairs, evenly from all of them.

    Raises:
        RunError: There are none.
    """
    if not groups:
        raise RunError("no held-out pair has a winner, so there is no margin to locate; give pairs with data=.")
    at = np.unique(np.linspace(0, len(groups) - 1, min(most, len(groups))).round().astype(int))
    return [groups[int(i)] for i in at]


def _read(subject: Subject, own: Loaded, data: Any) -> Sequence[Group]:
    judged, _, _ = Wanted(data, "pairs", None, 0, 0, 0).read(subject, own)
    return Apart.of(judged).pairs


def _kept(run: Path) -> list[Group]:
    """Return the pairs that a run kept, from their token ids.

    Raises:
        RunError: It kept none, or not all of a response's tokens carried loss, which the ids do not tell.
    """
    file = run / "pairs.jsonl"
    rows = read_rows(file) if file.is_file() else []
    if not rows or "ids" not in rows[0]:
        raise RunError(
            f"{run} kept no held-out pairs with their tokens (pairs.jsonl), as runs do whose objective has a margin "
            "against a reference; give some pairs with data=."
        )
    groups = [_group(row) for row in rows]
    scored = [[int(row["length_chosen"]), int(row["length_rejected"])] for row in rows]
    if [[_scored(group, 0), _scored(group, 1)] for group in groups] != scored:
        raise RunError(f"{run} scored only some tokens of its held-out responses, and did not keep which; give data=.")
    return groups


def _group(row: Mapping[str, Any]) -> Group:
    prompt, *responses = (np.array(row["ids"][side], np.int32) for side in ("prompt", "chosen", "rejected"))
    loss = tuple(np.ones(len(response), np.bool_) for response in responses)
    return Group(int(row["row"]), prompt, tuple(responses), loss, np.array([[0, 1]], np.int32))


def _scored(group: Group, side: int) -> int:
    return len(group.responses[side]) - (0 if len(group.prompt) else 1)
