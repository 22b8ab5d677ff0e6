"""Coverage: how likely the responses are under the model that training would start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..batch.group import Floats, Group, scored_masks
from ..batch.packed import pack
from ..config import RowsConfig, TemplateConfig, TokensConfig
from ..data.prepare import prepare
from ..errors import DataError
from ..findings import Drawing, Example, Figure, Finding, Level
from ..logps.checked import checked_values
from ..logps.policy import Policy, choose_path
from ..logps.reference import ReferenceCache, require_finite, score
from ..maths.counter import permutation
from ..maths.intervals import Measure, mean_interval, share_interval
from ..models.load import Loaded
from .judged import figures, percent
from .rows import Source, cut, parts

MOST = 256
"""Pairs that are scored."""

FREQUENCIES = 5_000
"""Pairs from which the tokens' frequencies are taken."""

FAR = 0.10
"""Share of pairs off the model's distribution, for certain, from which somebody should look."""

_BINS = 20

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """Responses of the scored pairs, one entry a pair.

    Attributes:
        chosen, rejected: Log-prob in nats.
        chosen_tokens, rejected_tokens: Scored tokens.
        chosen_common, rejected_common: Log-prob in nats by the frequencies of tokens in the other pairs.
        prompt: Cluster.
        group: Which group it is of.
    """

    chosen: Numbers
    rejected: Numbers
    chosen_tokens: Numbers
    rejected_tokens: Numbers
    chosen_common: Numbers
    rejected_common: Numbers
    prompt: NDArray[np.int64]
    group: NDArray[np.int64]

    @property
    def far(self) -> NDArray[np.bool_]:
        """Whether either response is less likely under the model than by frequencies of tokens alone."""
        return (self.chosen < self.chosen_common) | (self.rejected < self.rejected_common)


def coverage(data: Source, loaded: Loaded, config: RowsConfig | None = None) -> Finding:
    """Say how likely both responses are under a model, and how many pairs are far off its distribution.

    Far off is a pair of which one response is less likely under the model than if its tokens were drawn by their
    frequencies in the data: there the model knows less than a table of frequencies does.

    Args:
        data: As given to `read_rows`.
        loaded: The model that training would start from: policy and reference at step 0.
        config: How rows become records.

    Raises:
        LogratioError: The data cannot be read, or a log-prob is not finite.
    """
    rows = (config or RowsConfig()).model_copy(update={"skip_bad_rows": True})
    limit = getattr(loaded.model.config, "max_position_embeddings", None) or TokensConfig().max_length
    try:
        prepared = prepare(
            parts(data),
            kind="pairs",
            tokenizer=loaded.tokenizer,
            tokens=TokensConfig(max_length=min(limit, TokensConfig().max_length)),
            template=TemplateConfig(),
            rows=rows,
        )
    except DataError as error:
        return Finding("coverage", "note", f"No pair could be scored under {loaded.name}: {error}")
    order = permutation(len(prepared.groups), 0, 0)
    known = list(prepared.groups.select(np.sort(order[:FREQUENCIES])))
    drawn = np.sort(order[:MOST])
    groups = list(prepared.groups.select(drawn))
    scored = _scored(groups, _values(groups, loaded), _Frequencies(known, len(loaded.tokenizer)))
    origins = [str(prepared.groups.origin(int(row))) for row in drawn]
    return _finding(scored, groups, origins, loaded)


def _values(groups: Sequence[Group], loaded: Loaded) -> Sequence[Floats]:
    """Return log-probs by the path that training takes, kept in the reference cache."""
    policy = Policy(loaded.model)
    try:
        choose_path(policy, pack(list(groups[:4])))
        if not loaded.fingerprint:
            values: Sequence[Floats] = score(policy, groups, bin_tokens=1 << 13)
        else:
            cache = ReferenceCache.of(policy, loaded.fingerprint)
            values = list(checked_values(cache, policy, groups, bin_tokens=1 << 13))
    finally:
        policy.take("plain", "closed")
    require_finite(groups, values, "coverage: the log-prob of a response")
    return values


class _Frequencies:
    """Log-probs by how often each token is scored in all other pairs, one added to every count."""

    def __init__(self, groups: Sequence[Group], vocabulary: int) -> None:
        """Count the scored tokens of some groups."""
        ids = [_ids(group) for group in groups]
        every = np.concatenate([part for own in ids for part in own])
        self._count = np.bincount(every, minlength=max(vocabulary, int(every.max(initial=0)) + 1)).astype(np.float64)

    def __call__(self, group: Group) -> list[float]:
        """Return the log-prob of each response in nats; the group, which is among those counted, is left out."""
        ids = _ids(group)
        own = np.concatenate(ids)
        held = np.bincount(own, minlength=len(self._count))
        total = self._count.sum() - len(own) + len(self._count)
        return [float(np.log((self._count[part] - held[part] + 1) / total).sum()) for part in ids]


def _ids(group: Group) -> list[NDArray[np.int32]]:
    return [ids[mask] for ids, mask in zip(group.responses, scored_masks(group), strict=True)]


def _scored(groups: Sequence[Group], values: Sequence[Floats], frequencies: _Frequencies) -> Scored:
    columns: list[tuple[float, ...]] = []
    names: dict[bytes, int] = {}
    for number, (group, value) in enumerate(zip(groups, values, strict=True)):
        sizes = [int(mask.sum()) for mask in scored_masks(group)]
        sums = [float(part.sum(dtype=np.float64)) for part in np.split(value, np.cumsum(sizes)[:-1])]
        common = frequencies(group)
        prompt = names.setdefault(group.prompt.tobytes(), len(names))
        for w, lost in group.edges:
            both = (sums[w], sums[lost], sizes[w], sizes[lost], common[w], common[lost])
            columns.append((*map(float, both), prompt, number))
    table = np.array(columns, np.float64).reshape(-1, 8).T
    won, lost_, *rest = table
    return Scored(won, lost_, rest[0], rest[1], rest[2], rest[3], rest[4].astype(np.int64), rest[5].astype(np.int64))


def _finding(scored: Scored, groups: Sequence[Group], origins: Sequence[str], loaded: Loaded) -> Finding:
    far = share_interval(scored.far, scored.prompt)
    gap = scored.chosen - scored.rejected
    measures = {
        "chosen_nats_per_token": _rate(scored.chosen, scored.chosen_tokens, scored.prompt),
        "rejected_nats_per_token": _rate(scored.rejected, scored.rejected_tokens, scored.prompt),
        "initial_margin_nats": mean_interval(gap, clusters=scored.prompt),
        "chosen_more_likely_share": share_interval(np.where(gap == 0, 0.5, gap > 0), scored.prompt),
        "far_off_share": far,
        "chosen_far_off_share": share_interval(scored.chosen < scored.chosen_common, scored.prompt),
        "rejected_far_off_share": share_interval(scored.rejected < scored.rejected_common, scored.prompt),
    }
    told: dict[str, Figure] = {"pairs": len(gap), "model": loaded.name, "initial_margin_sd_nats": float(gap.std())}
    for name, measure in measures.items():
        told |= figures(name, measure)
    level: Level = "look" if (far.low or 0.0) > FAR else "note" if (far.mean or 0.0) > 0 else "fine"
    means = {name: measure.mean or 0.0 for name, measure in measures.items()}
    return Finding(
        "coverage",
        level,
        f"Under {loaded.name} a token of the preferred response has {means['chosen_nats_per_token']:.2f} nats and one "
        f"of the other {means['rejected_nats_per_token']:.2f}; the preferred one is the more likely in "
        f"{percent(means['chosen_more_likely_share'])} of {len(gap):,} pairs, and {percent(far.mean)} of pairs are far "
        "off what the model knows.",
        _REMEDY if level == "look" else "",
        figures=told,
        drawing=_drawing(scored),
        examples=_examples(scored, groups, origins, loaded),
    )


_REMEDY = (
    "Fine-tune on the preferred responses first (objective: sft), or sample the pairs from the model itself: what it "
    "would never say moves its likelihood, not its behaviour."
)


def _rate(logp: Numbers, tokens: Numbers, prompt: NDArray[np.int64]) -> Measure:
    """Return the mean log-prob of a token with its interval, a ratio clustered by prompt."""
    held = tokens > 0
    return mean_interval(logp[held] / tokens[held], tokens[held], prompt[held])


def _drawing(scored: Scored) -> Drawing:
    chosen = scored.chosen / np.maximum(scored.chosen_tokens, 1)
    rejected = scored.rejected / np.maximum(scored.rejected_tokens, 1)
    both = np.concatenate([chosen, rejected])
    edges = np.linspace(both.min(initial=-1.0), both.max(initial=0.0), _BINS + 1)
    series = {
        name: (np.histogram(part, edges)[0] / max(1, len(part))).tolist()
        for name, part in (("preferred", chosen), ("other", rejected))
    }
    centres = ((edges[:-1] + edges[1:]) / 2).tolist()
    return Drawing(
        "lines",
        "Log-probs of responses at step 0",
        "nats per token",
        "share of pairs",
        centres,
        series,
        "Two curves on top of each other: neither side is more at home in the model.",
    )


def _examples(scored: Scored, groups: Sequence[Group], origins: Sequence[str], loaded: Loaded) -> list[Example]:
    """Return the pairs whose responses lie furthest below the frequencies' log-prob, per token."""
    below = np.maximum(
        (scored.chosen_common - scored.chosen) / np.maximum(scored.chosen_tokens, 1),
        (scored.rejected_common - scored.rejected) / np.maximum(scored.rejected_tokens, 1),
    )
    found = []
    for i in np.argsort(-below, kind="stable")[:3]:
        if not scored.far[i]:
            continue
        group = groups[scored.group[i]]
        named = {"prompt": group.prompt, "chosen": group.responses[0], "rejected": group.responses[1]}
        texts = {name: cut(str(loaded.tokenizer.decode(ids))) for name, ids in named.items()}
        why = f"{below[i]:.2f} nats a token less likely than by frequencies of tokens."
        found.append(Example(origins[scored.group[i]], why, texts))
    return found
