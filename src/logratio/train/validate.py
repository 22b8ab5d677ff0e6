"""Evaluation inside a run: the objective and its metrics on held-out groups, and samples of fixed prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..batch.group import Group, Ints
from ..batch.logps import Logps
from ..config import RunConfig
from ..data.prompts import Asking
from ..errors import ConfigError
from ..evaluate.calibration import calibrated
from ..evaluate.halves import halves
from ..evaluate.kl import divergences, sample_measures
from ..evaluate.margins import margin_spread
from ..evaluate.measure import Scored, objective_measures
from ..logps.reference import require_finite
from ..logps.whole import by_group, part, whole
from ..maths.intervals import Measure
from ..rollout.generate import Sample, generate
from ..rollout.judge import Judge
from .distributed import unsharded
from .gradient import Learner, Live
from .pairlog import PairLog
from .rewards import rewards


@dataclass(frozen=True)
class Prompts:
    """Fixed prompts whose samples show what the policy has become.

    Attributes:
        prompts: Token ids.
        tokenizer: Turns ids into text.
        stop_ids: Tokens that end a response.
        max_new_tokens: Length limit.
        seed: Of the samples: the same at every evaluation.
        live: The reference, for the KL on these samples; None leaves it out.
        judge: Scores these samples; None leaves the reward out.
        asking: Text and other fields of each prompt, for the judge.
        select: Positions of the prompts on whose reward a best checkpoint is chosen; None without that wish.
    """

    prompts: Sequence[Ints]
    tokenizer: Any
    stop_ids: Sequence[int]
    max_new_tokens: int
    seed: int
    live: Live | None
    judge: Judge | None = None
    asking: Sequence[Asking] = ()
    select: NDArray[np.int64] | None = None

    @property
    def parts(self) -> dict[str, list[int]]:
        """The prompts that choose a best checkpoint and the others, where one is chosen by their reward."""
        if self.select is None:
            return {}
        others = np.setdiff1d(np.arange(len(self.prompts)), self.select)
        return {"select": self.select.tolist(), "unseen": others.tolist()}


def choosing(config: RunConfig, prompt_hash: Sequence[int] | NDArray[np.uint64], of: str) -> NDArray[np.int64] | None:
    """Return the positions of what chooses a best checkpoint; None where none is asked for.

    Args:
        config: The recipe.
        prompt_hash: Of the prompt of each group or sample evaluated.
        of: What these are, in a word.

    Raises:
        ConfigError: There are too few of them to choose and to report.
    """
    if config.keep.best is None:
        return None
    chosen, reporting = halves(map(int, prompt_hash))
    if not len(chosen) or not len(reporting):
        remedy = "eval.holdout or give more eval.data" if of == "groups" else "eval.samples or eval.holdout"
        raise ConfigError(
            f"keep.best is {config.keep.best}, which is chosen on one half of the held-out prompts and reported on the "
            f"other, and {len(prompt_hash)} held-out {of} leave one empty; raise {remedy}."
        )
    return chosen


@dataclass(frozen=True)
class Validation:
    """What is measured at step 0 and at intervals; the same numbers whatever the bins.

    Attributes:
        learner: Policy and objective.
        groups: Held-out groups, with reference log-probs where the objective reads them; a moving reference's are
            made at each evaluation.
        select: Positions in `groups` on which a best checkpoint is chosen; None without that wish.
        fixed: Prompts to sample from.
        keep_sample: Takes a row for `samples.jsonl`.
        pairs: Keeps the margin of each held-out pair; None does not.
    """

    learner: Learner
    groups: Sequence[Group]
    select: NDArray[np.int64] | None
    fixed: Prompts
    keep_sample: Callable[[Mapping[str, Any]], None]
    pairs: PairLog | None = None

    def __call__(self, done: int) -> dict[str, Any]:
        """Return measures by name, each {mean, low, high, n}, after `done` steps.

        With `select`, the measures of those groups alone stand under "select", those of the others under "unseen".
        """
        if not self.groups:
            return self.sample(done)
        groups, logps = self._scored(done)  # first, since FSDP2 is set up by the whole model's forward, not a part's
        if self.pairs is not None:
            self.pairs.keep(done, groups, logps, self.learner)
        row = {**self._measures(groups, logps, range(len(groups))), **self.sample(done)}
        if self.select is None:
            return row
        halves = {"select": self.select.tolist(), "unseen": self.unseen().tolist()}
        return {**row, **{name: self._measures(groups, logps, half) for name, half in halves.items()}}

    def unseen(self) -> NDArray[np.int64]:
        """Return the positions that took no part in choosing a best checkpoint."""
        return np.setdiff1d(np.arange(len(self.groups)), [] if self.select is None else self.select)

    def _scored(self, done: int) -> tuple[list[Group], Logps]:
        """Score all held-out groups once, by all processes together.

        Raises:
            NonFiniteError: A log-prob is NaN or infinite.
        """
        learner = self.learner
        groups = list(learner.with_reference(self.groups))
        ranks = (learner.world.rank, learner.world.size)
        logps = whole(learner.forward, groups, bin_tokens=learner.bin_tokens, ranks=ranks, gather=learner.world.gather)
        values, what = by_group(groups, logps)
        require_finite(groups, values, f"evaluation after {done} steps: {what}")
        return groups, logps

    def _measures(self, groups: Sequence[Group], logps: Logps, members: Sequence[int]) -> dict[str, Any]:
        """Evaluate the objective on some of the groups, as if they were one step."""
        own, logps = [groups[i] for i in members], part(groups, logps, members)
        scored = Scored.whole(own, logps, self.learner.state)
        objective, settings = self.learner.objective, self.learner.settings
        spread, quantiles = margin_spread(scored, objective, settings)
        calls, calibration = calibrated(objective, settings, own, logps, self.learner.state)
        found = {**objective_measures(scored, objective, settings), **spread, **calls}
        row: dict[str, Any] = {name: measure.to_json() for name, measure in found.items()}
        plotted = {"margin_quantiles": quantiles, "calibration": calibration if calls else None}
        return {**row, **{name: values for name, values in plotted.items() if values}}

    def sample(self, done: int) -> dict[str, Any]:
        """Sample every fixed prompt once, keep the texts, and measure length, repetition, ended share and KL."""
        fixed = self.fixed
        if not fixed.prompts:
            return {}
        with unsharded(self.learner.policy):
            drawn = generate(
                self.learner.policy.model,
                fixed.prompts,
                max_new_tokens=fixed.max_new_tokens,
                stop_ids=fixed.stop_ids,
                seed=fixed.seed,
            )
        for index, (prompt, (sample,)) in enumerate(zip(fixed.prompts, drawn, strict=True)):
            self.keep_sample(_row(done, index, fixed.tokenizer, prompt, sample))
        out = sample_measures(fixed.prompts, drawn)
        out |= self._divergences(drawn)
        apart, paid = dict[str, Measure](), dict[str, float]()
        if fixed.judge is not None:
            judged, apart, paid = rewards(
                fixed.judge, fixed.asking, fixed.prompts, drawn, fixed.tokenizer, parts=fixed.parts
            )
            out |= judged
        row: dict[str, Any] = {name: measure.to_json() for name, measure in out.items()}
        return row | paid | {name: {"reward": reward.to_json()} for name, reward in apart.items()}

    def _divergences(self, drawn: Sequence[Sequence[Sample]]) -> dict[str, Measure]:
        """Return the KL of samples to the reference, which nothing here holds on to when a judge is asked."""
        if self.fixed.live is None:
            return {}
        with self.fixed.live() as reference:
            return divergences(reference, self.fixed.prompts, drawn, bin_tokens=self.learner.bin_tokens)


def _row(done: int, index: int, tokenizer: Any, prompt: Ints, sample: Sample) -> dict[str, Any]:
    return {
        "step": done,
        "index": index,
        "prompt": tokenizer.decode(prompt.tolist(), skip_special_tokens=False),
        "text": tokenizer.decode(sample.tokens.tolist(), skip_special_tokens=True),
        "tokens": len(sample.tokens),
        "ended": sample.ended,
        "ids": sample.tokens.tolist(),
        "logp": float(sample.logps.sum(dtype=np.float64)),  # of the policy; with `ids` any reference gives the KL later
    }
