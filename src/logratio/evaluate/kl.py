"""How far the policy has gone from its reference, measured on responses that the policy itself samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..batch.group import Floats, Group, Ints
from ..logps.reference import score
from ..maths.intervals import NOTHING, Measure, mean_interval, share_interval
from ..rollout.generate import Sample

REPEATED = 4
"""Length of the n-grams whose return counts as repetition."""


def divergence(
    reference: nn.Module, prompts: Sequence[Ints], drawn: Sequence[Sequence[Sample]], *, bin_tokens: int
) -> Measure:
    """Return the sequence KL of samples against a reference: the first of `divergences`."""
    return divergences(reference, prompts, drawn, bin_tokens=bin_tokens)["kl"]


def divergences(
    reference: nn.Module, prompts: Sequence[Ints], drawn: Sequence[Sequence[Sample]], *, bin_tokens: int
) -> dict[str, Measure]:
    """Return the KL of samples against a reference, by `kl_measures` on the samples' own log-probs.

    Args:
        reference: A `Policy`.
        prompts: Token ids of each prompt.
        drawn: For each prompt, samples drawn from the policy at temperature 1.
        bin_tokens: Tokens a bin may hold.
    """
    groups = sample_groups(prompts, drawn)
    own = [np.concatenate([sample.logps for sample in samples]) for samples in drawn]
    return kl_measures(groups, own, score(reference, groups, bin_tokens=bin_tokens))


def kl_measures(
    groups: Sequence[Group], policy: Sequence[Floats], reference: Sequence[Floats] | None
) -> dict[str, Measure]:
    """Return the KL of the policy from its reference, estimated on its own samples.

        kl           mean over y ~ π(·|x) of Σ_t log π(y_t|x,y_<t) − log π_ref(y_t|x,y_<t), nats a response
        kl_per_token the same sum over all responses / their tokens, nats a token

    Unbiased, and of the distribution that was sampled: where responses are cut at a length limit, of that one. A
    single sample may be negative; samples of one prompt form one cluster of the interval.

    Args:
        groups: Prompts with their sampled responses, as `sample_groups` makes them.
        policy: Log-probs of the sampled tokens under the policy, one array a group.
        reference: The same under the reference; None where there is none, and nothing is known.
    """
    if reference is None:
        return {"kl": NOTHING, "kl_per_token": NOTHING}
    ratios, lengths, prompts = [], [], []
    for group, own, other in zip(groups, policy, reference, strict=True):
        ends = np.cumsum([len(response) for response in group.responses])
        difference = own.astype(np.float64) - other.astype(np.float64)
        ratios += [part.sum() for part in np.split(difference, ends[:-1])]
        lengths += [len(response) for response in group.responses]
        prompts += [group.prompt.tobytes()] * len(group.responses)
    return {
        "kl": mean_interval(ratios, clusters=prompts),
        "kl_per_token": mean_interval(np.divide(ratios, lengths), lengths, prompts),
    }


def sample_measures(prompts: Sequence[Ints], drawn: Sequence[Sequence[Sample]]) -> dict[str, Measure]:
    """Return what samples look like, whatever the reference.

    sample_length      tokens a response, the stop token included
    ended              share of responses that reached a stop token before the length limit
    repetition         share of a response's 4-grams that occurred in it before; responses of under 4 tokens have none
    distinct_2         distinct bigrams / bigrams over all responses; without interval, and lower the more are sampled
    self_overlap       share of a response's different 4-grams that another prompt's response has too, mean over such
                       couples of responses; without interval, and the same however many are sampled
    entropy_per_token  −Σ log π(y_t) / tokens of samples drawn at temperature 1, nats a token
    """
    flat = [(prompt.tobytes(), sample) for prompt, samples in zip(prompts, drawn, strict=True) for sample in samples]
    owners = [owner for owner, _ in flat]
    long = [(owner, sample.tokens) for owner, sample in flat if len(sample.tokens) >= REPEATED]
    bigrams = Counter(pair for _, sample in flat for pair in _grams(sample.tokens, 2))
    return {
        "sample_length": mean_interval([len(sample.tokens) for _, sample in flat], clusters=owners),
        "ended": share_interval([float(sample.ended) for _, sample in flat], owners),
        "repetition": share_interval([repetition(tokens) for _, tokens in long], [owner for owner, _ in long]),
        "distinct_2": Measure(len(bigrams) / bigrams.total() if bigrams else None, None, None, bigrams.total()),
        "self_overlap": _overlap(long),
        "entropy_per_token": mean_interval(
            [-sample.logps.astype(np.float64).mean() for _, sample in flat],
            [len(sample.tokens) for _, sample in flat],
            owners,
        ),
    }


def repetition(tokens: NDArray[np.int32]) -> float:
    """Return the share of 4-grams that occurred before in the same tokens; 0 for fewer than four."""
    grams = _grams(tokens, REPEATED)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _overlap(long: Sequence[tuple[bytes, NDArray[np.int32]]]) -> Measure:
    """Return the mean share of a response's different 4-grams that a response to another prompt has too.

    Counting how many responses have a 4-gram gives the mean over all couples without forming them.
    """
    having = [(owner, set(_grams(tokens, REPEATED))) for owner, tokens in long]
    everywhere = Counter(gram for _, grams in having for gram in grams)
    within: dict[bytes, Counter[tuple[int, ...]]] = {}
    for owner, grams in having:
        within.setdefault(owner, Counter()).update(grams)
    size = Counter(owner for owner, _ in having)
    total, couples = 0.0, 0
    for owner, grams in having:
        shared = sum(everywhere[gram] - within[owner][gram] for gram in grams)
        total, couples = total + shared / len(grams), couples + len(having) - size[owner]
    return Measure(total / couples if couples else None, None, None, len(having))


def sample_groups(prompts: Sequence[Ints], drawn: Sequence[Sequence[Sample]]) -> list[Group]:
    """Return prompts with their samples as groups whose every response token is scored."""
    return [
        Group(
            row=i,
            prompt=prompt,
            responses=tuple(sample.tokens for sample in samples),
            loss=tuple(np.ones(len(sample.tokens), np.bool_) for sample in samples),
            edges=np.zeros((0, 2), np.int32),
        )
        for i, (prompt, samples) in enumerate(zip(prompts, drawn, strict=True))
    ]


def _grams(tokens: NDArray[np.int32], n: int) -> list[tuple[int, ...]]:
    ids = tokens.tolist()
    return [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
