"""Everything that policy and reference score: the evaluation data, texts to retain, and the policy's own samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..batch.group import Floats, Group, Ints
from ..config import RowsConfig, TokensConfig
from ..data.adapt import Kind
from ..data.prepare import prepare
from ..data.prepared import Prepared
from ..errors import TemplateError
from ..logps.checked import checked_values
from ..logps.policy import Policy
from ..logps.reference import ReferenceCache, score
from ..logps.subject import Subject
from ..maths.counter import permutation
from ..models.load import Loaded
from ..rollout.generate import Sample, context, generate, plainly, stop_tokens
from .kl import sample_groups


@dataclass(frozen=True)
class Values:
    """Log-probs of `Texts` under one model, one float32 array a group."""

    judged: Sequence[Floats]
    retained: Sequence[Floats]
    sampled: Sequence[Floats]


@dataclass(frozen=True)
class Texts:
    """What is scored, by policy and reference alike.

    Attributes:
        judged: Groups of the evaluation data.
        retained: Texts to lose nothing on; may be empty.
        prompts: Prompts that were sampled from; may be empty.
        drawn: Their samples under the policy.
    """

    judged: Sequence[Group]
    retained: Sequence[Group]
    prompts: Sequence[Ints]
    drawn: Sequence[Sequence[Sample]]

    def score(self, policy: Policy, *, bin_tokens: int) -> Values:
        """Return the log-probs of all scored tokens."""
        parts = (self.judged, self.retained, sample_groups(self.prompts, self.drawn))
        return Values(*(score(policy, groups, bin_tokens=bin_tokens) for groups in parts))

    def score_reference(
        self, policy: Policy, weights: str, *, bin_tokens: int, warn: Callable[[str], None] = lambda text: None
    ) -> Values:
        """Return the same of a reference, from its cache where that holds these rows; samples are always new.

        Args:
            policy: The reference, its path chosen.
            weights: Its fingerprint; "" where it has none that can be relied on, and nothing is cached.
            bin_tokens: Tokens a forward pass may hold.
            warn: Told what was damaged or wrong in the cache, a sentence.
        """
        if not weights:
            return self.score(policy, bin_tokens=bin_tokens)
        cache = ReferenceCache.of(policy, weights)

        def kept(groups: Sequence[Group]) -> Sequence[Floats]:
            return checked_values(cache, policy, groups, bin_tokens=bin_tokens, warn=warn) if groups else []

        drawn = score(policy, sample_groups(self.prompts, self.drawn), bin_tokens=bin_tokens)
        return Values(kept(self.judged), kept(self.retained), drawn)


@dataclass(frozen=True)
class Wanted:
    """What to read and to sample.

    Attributes:
        data: The evaluation data.
        kind: What it holds.
        retain: Texts to lose nothing on, or None.
        samples: Prompts to sample from, one response each.
        max_new_tokens: Length limit of a response.
        seed: Of prompts and responses.
    """

    data: Any
    kind: Kind
    retain: Any
    samples: int
    max_new_tokens: int
    seed: int

    def read(self, subject: Subject, own: Loaded) -> tuple[list[Group], list[Group], list[str]]:
        """Tokenise as the run did its own data; return judged and retained groups, and what reading has to say.

        Raises:
            DataError: The data cannot be used.
            TemplateError: The chat template is not the one that the run learned with.
        """
        tokens = subject.config.tokens if subject.config else TokensConfig()
        tokens = tokens.model_copy(update={"max_length": min(tokens.max_length, context(own.model) or math.inf)})
        tokenizer = own.tokenizer
        judged = _prepare(subject, tokenizer, self.data, self.kind, tokens)
        _require_template(subject, judged)
        if self.retain is None:
            return list(judged.groups), [], judged.report.lines()
        whole = tokens.model_copy(update={"overflow": "truncate"})  # a long text is cut, not left out
        retained = _prepare(subject, tokenizer, self.retain, "demonstrations", whole)
        return list(judged.groups), list(retained.groups), judged.report.lines()

    def draw(
        self, own: Loaded, groups: Sequence[Group], tell: Callable[[str], None]
    ) -> tuple[list[Ints], list[list[Sample]]]:
        """Sample a response to each of some prompts; return both, and tell where the slower way is taken."""
        prompts = self._prompts(groups, context(own.model))
        stops = stop_tokens(own.model, own.tokenizer)
        why = plainly(own.model, prompts, self.max_new_tokens)
        if why is not None:
            tell(why)
        drawn = generate(own.model, prompts, max_new_tokens=self.max_new_tokens, stop_ids=stops, seed=self.seed)
        return prompts, drawn

    def _prompts(self, groups: Sequence[Group], limit: int | None) -> list[Ints]:
        """Choose distinct prompts by seed; empty ones, and those without room for a response, are passed over."""
        room = math.inf if limit is None else limit - self.max_new_tokens
        distinct = {group.prompt.tobytes(): group.prompt for group in groups if 0 < len(group.prompt) <= room}
        prompts = list(distinct.values())
        return [prompts[i] for i in permutation(len(prompts), self.seed, 0)[: self.samples]]


def _require_template(subject: Subject, judged: Prepared) -> None:
    used, learned = judged.report.template, subject.manifest.get("template_hash")
    if learned is not None and (used is None or used.hash != learned):
        raise TemplateError(
            f"{subject.name} learned with chat template {learned[:12]} and would be evaluated with "
            f"{used.hash[:12] if used else 'none'}, so the numbers would mean something else; restore its tokenizer."
        )


def _prepare(subject: Subject, tokenizer: Any, data: Any, kind: Kind, tokens: TokensConfig) -> Prepared:
    config = subject.config
    return prepare(
        data,
        kind=kind,
        tokenizer=tokenizer,
        tokens=tokens,
        template=subject.template,
        rows=config.rows if config else RowsConfig(),
        date=subject.manifest.get("date"),
    )
