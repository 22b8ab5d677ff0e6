"""Calibration of a run's policy on data of one's own: the loss that it was trained with says what its margins imply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..batch.group import Floats, Group
from ..batch.logps import Logps
from ..logps.subject import Subject
from ..maths.intervals import Measure
from ..objectives import load
from .calibration import calibrated


def run_calibration(
    subject: Subject, groups: Sequence[Group], policy: Sequence[Floats], reference: Sequence[Floats] | None
) -> tuple[dict[str, Measure], dict[str, Any]]:
    """Return what `calibrated` does, of a model that a run made.

    Args:
        subject: What is evaluated.
        groups: Groups with edges.
        policy: Scored log-probs under the policy, one array a group.
        reference: The same under the reference; None where there is none.
    """
    if subject.config is None:
        return _none("no run says with which loss these margins were made")
    own = dict(subject.config.objective)
    objective = load(own.pop("name"))
    settings = objective.settings.model_validate(own)
    needs = objective.needs(settings)
    if needs.divergence or needs.extras:
        return _none("the loss reads more of the distribution than the log-probs of responses")
    if needs.reference and reference is None:
        return _none("the loss reads a reference, and there is none")
    if reference is not None:
        groups = [group.with_columns(token={"reference": own}) for group, own in zip(groups, reference, strict=True)]
    logps = Logps(torch.from_numpy(np.concatenate([np.zeros(0, np.float32), *policy])))
    state = {name: torch.tensor(value).double() for name, value in objective.state(settings).items()}
    return calibrated(objective, settings, groups, logps, state)


def _none(clause: str) -> tuple[dict[str, Measure], dict[str, Any]]:
    return {}, {"why_not": f"Calibration is not measured: {clause}."}
