"""What a run says when it opens: lines to print, entries of the manifest."""

from __future__ import annotations

import datetime
import platform
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np

from ..config import RunConfig
from ..logps.policy import Policy
from ..models.device import VARIABLE
from ..models.load import Loaded
from .distributed import World
from .keys import shown
from .memory import Estimate
from .phases import Phases
from .recipe import Resolved
from .setup import DataSet
from .source import FileSource
from .units import count
from .values import Valued


@dataclass(frozen=True)
class Opening:
    """The facts of a run before its first step.

    Attributes:
        resolved: The recipe as given.
        config: The recipe with learning rate and budget settled.
        tokenizer, model, policy, data: What is trained, how, on what.
        reference: What the reference is, in words; None where the objective needs none.
        lr_source: Where the learning rate comes from.
        memory: The memory estimate, one line.
        estimate: The same, item by item.
        bf16: Whether products are in bfloat16.
        world: The processes.
        date: What a template that reads the clock is told.
        valued: What gives the values; None where none are read.
        judge: Who judges fresh responses, in words; None where none are drawn.
    """

    resolved: Resolved
    config: RunConfig
    tokenizer: Any
    model: Loaded
    policy: Policy
    data: DataSet
    reference: str | None
    lr_source: str
    memory: str
    estimate: Estimate
    bf16: bool
    world: World
    date: str
    valued: Valued | None = None
    judge: str | None = None

    @property
    def files(self) -> FileSource:
        """The data as steps: of groups to learn from, or of prompts to draw responses to."""
        train = self.config.train
        return FileSource(self.data.groups, self.data.train, train.batch_size, train.epochs, train.seed)

    @property
    def texts(self) -> FileSource | None:
        """The texts of each step, pass after pass for as long as the run lasts; None without any."""
        own, train = self.config.texts, self.config.train
        if own is None or self.data.texts is None:
            return None
        groups = self.data.texts.groups
        return FileSource(groups, np.arange(len(groups)), own.batch_size, 1.0, train.seed)

    @cached_property
    def phases(self) -> Phases:
        """How the batches of prompts are drawn for.

        Raises:
            ConfigError: There are fewer than rounds.
        """
        assert self.config.rollout is not None
        return Phases.of(self.files.steps, self.config.rollout)

    @property
    def steps(self) -> int:
        """Optimiser steps in the run."""
        return self.files.steps if self.config.rollout is None else self.phases.steps

    @property
    def held_out(self) -> int:
        """Groups evaluated on."""
        return len(self.data.held_out) if self.data.evaluation is None else len(self.data.evaluation)

    def lines(self) -> list[str]:
        """Return what is printed before the first step."""
        model, train = self.model, self.config.train
        dropped = ", ".join(f"{name} (was {was:g})" for name, was in model.dropouts.items())
        settings = ", ".join(f"{name} {shown(value)}" for name, value in self.resolved.settings.model_dump().items())
        return [
            *self.data.prepared.report.lines(),
            f"model: {model.name}, {count(model.parameters)} parameters, {count(model.trainable)} trained; "
            f"{'bf16 products, float32 weights and log-probs' if self.bf16 else 'float32'}",
            *(self._about_scores() if model.head == "score" else []),
            *([f"dropout set to 0: {dropped}"] if dropped else []),
            f"prompts: {self.policy.path} path ({self.policy.reason})",
            f"objective: {self.config.objective['name']}{f' ({settings})' if settings else ''}",
            *([f"from: {self.resolved.objective.origin}"] if self.resolved.objective.origin else []),
            f"loss: {self.resolved.objective.formula}",
            f"reference: {self.reference or 'not needed by this objective'}",
            *([f"values: {self.valued.origin}"] if self.valued else []),
            *(self._about_rollouts() if self.config.rollout is not None else []),
            f"steps: {self.steps} of up to {train.batch_size} groups; {len(self.data.train):,} groups trained on, "
            f"{self.held_out:,} held out",
            *_not_held_out(self.config, self.data, self.tokenizer),
            f"lr: {train.lr:g} ({self.lr_source}), {train.schedule}, warm-up {train.warmup:.0%} of the steps",
            self.memory,
            *_long_groups(self.data, train.bin_tokens or 1),
            *self._about_device(),
            *([f"processes: {self.world.size}, {self.world.mode}"] if self.world.size > 1 else []),
        ]

    def _about_device(self) -> list[str]:
        """Say where models are computed, where that is not what everybody expects."""
        if self.world.desk == self.world.device:
            return []
        kind = self.world.device.type
        return [f"device: {kind} for models, the CPU for losses and totals; {VARIABLE}=cpu computes all there"]

    def _about_rollouts(self) -> list[str]:
        rollout, phases = self.config.rollout, self.phases
        assert rollout is not None
        most = max(len(phases.batches(i)) for i in range(phases.count))
        learned = {"pairs": f"pairs ({rollout.edges})", "demonstrations": "the best of them"}
        what = learned.get(self.resolved.objective.data, "all of them")
        return [
            f"rollouts: {phases.count} phases; each draws {rollout.k} responses of at most {rollout.max_new_tokens} "
            f"tokens at temperature {rollout.temperature:g} to {most * self.config.train.batch_size} prompts or fewer, "
            f"and learns from {what} in {rollout.epochs * most} steps or fewer; each is rollouts/phase-NUMBER.jsonl",
            f"judge: {self.judge}",
            *self._about_texts(),
        ]

    def _about_texts(self) -> list[str]:
        own, texts = self.config.texts, self.data.texts
        if own is None or texts is None:
            return []
        of = f"{own.batch_size} of {len(texts.groups):,} texts a step, {own.weight:g} × their mean loss per token"
        return [f"texts: {of}", *(f"  {line}" for line in texts.report.lines())]

    def _about_scores(self) -> list[str]:
        return [
            f"score head: {self.model.head_origin}; padding is {self.tokenizer.pad_token}, which ends no response",
            "samples: none, since a reward model does not generate",
        ]

    def manifest(self, identity: str) -> dict[str, Any]:
        """Return the entries of `manifest.json`; `identity` is that of the reference's log-probs."""
        model, report = self.model, self.data.prepared.report
        kind: dict[str, Any] = {"kind": self.config.reference, "identity": identity, "description": self.reference}
        if self.config.reference_sync.every is not None:
            kind["sync"] = self.config.reference_sync.model_dump()
        return {
            "date": self.date,
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": _versions(),
            "seed": self.config.train.seed,
            "steps": self.steps,
            "model": {
                "name": model.name,
                "base": model.base,
                "adapter": model.adapter,
                "fingerprint": model.fingerprint,
                "dropouts": model.dropouts,
            },
            "data": {
                "fingerprint": self.data.fingerprint,
                "train": len(self.data.train),
                "eval": self.held_out,
            },
            "judge": self.judge,
            "template_hash": report.template.hash if report.template else None,
            "template": asdict(report.template) if report.template else None,
            "reference": kind if self.reference else None,
            "objective": {
                "name": self.config.objective["name"],
                "formula": self.resolved.objective.formula,
                "source": self.resolved.objective.source,
                "head": model.head,
                "origin": self.resolved.objective.origin,
            },
            "lr_source": self.lr_source,
            "path": {"name": self.policy.path, "reason": self.policy.reason},
            "parallel": {"mode": self.world.mode, "processes": self.world.size},
            "rows": report.lines(),
        }


def _not_held_out(config: RunConfig, data: DataSet, tokenizer: Any) -> list[str]:
    """Say why nothing is held out where a share was to be."""
    if len(data.held_out) or data.evaluation is not None or config.eval.holdout == 0:
        return []
    if (data.prepared.prompt_hash != data.prepared.prompt_hash[0]).any():
        why = f"each prompt has more groups than eval.max_groups {config.eval.max_groups}, and none is divided"
    else:
        bare = data.groups[0].prompt.tolist() in ([], [tokenizer.bos_token_id])
        why = f"whole prompts are held out, and these rows {'have none' if bare else 'share one'}"
    return [f"nothing is evaluated in the run: {why}; name rows to evaluate on with --eval-data"]


def _long_groups(data: DataSet, bin_tokens: int) -> list[str]:
    """Say so where no group fits into a bin."""
    if any(data.groups[int(i)].tokens <= bin_tokens for i in data.train):  # the first one does, as a rule
        return []
    return [
        f"bins: every group is longer than train.bin_tokens {bin_tokens}, so each has a bin of its own; groups are not "
        "divided"
    ]


def _versions() -> dict[str, str]:
    """Return the versions that numbers depend on."""
    names = ("logratio", "torch", "transformers", "peft", "tokenizers", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
