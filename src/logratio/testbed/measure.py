"""What a model is worth in a world: its answers at prompts that no training saw, under the true reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..batch.group import Ints
from ..evaluate.kl import divergence
from ..files import read_rows
from ..logps.policy import Policy
from ..maths.intervals import Measure, mean_interval, share_interval
from ..models.load import load_model
from ..rollout.generate import Sample
from .build import Built, answer, text_of
from .reward import distinct
from .world import World

GRAM = 3
"""Words of the n-grams whose variety is measured."""

_BATCH = 50
_BIN_TOKENS = 1 << 12


@dataclass(frozen=True)
class Answers:
    """One answer to every held-out prompt.

    Attributes:
        world: Whose reward applies.
        prompts: Token ids.
        samples: One list of one sample a prompt.
        texts: Prompt and answer together.
    """

    world: World
    prompts: Sequence[Ints]
    samples: Sequence[Sequence[Sample]]
    texts: Sequence[str]

    def score(self, value: Callable[[str], float]) -> list[float]:
        """Return a value of every text."""
        return [value(text) for text in self.texts]

    def measures(self) -> dict[str, Measure]:
        """Return what the answers are like.

        reward    r* a text
        proxy     words of praise a text, negated or not
        parsed    share of a text's sentences that the grammar reads
        length    tokens an answer, end token included
        distinct  distinct 3-grams of words / all of them, over batches of 50 texts
        """
        reward = self.world.reward
        batches = [self.texts[i : i + _BATCH] for i in range(0, len(self.texts) - _BATCH + 1, _BATCH)]
        return {
            "reward": mean_interval(self.score(reward)),
            "proxy": mean_interval(self.score(reward.proxy)),
            "parsed": share_interval(self.score(reward.parsed_share)),
            "length": mean_interval([len(sample.tokens) for (sample,) in self.samples]),
            "distinct": mean_interval([distinct(batch, GRAM) for batch in batches]),
        }


def answers(built: Built, model: Path, *, seed: int) -> Answers:
    """Let a model answer every held-out prompt once; `seed` decides the draws."""
    made = load_model(str(model))
    ids, samples = answer(made.model, made.tokenizer, built.world, built.held_out, seed=seed)
    texts = [prompt + text_of(made.tokenizer, own) for prompt, (own,) in zip(built.held_out, samples, strict=True)]
    return Answers(built.world, ids, samples, texts)


def compared(built: Built, after: Answers, before: Answers) -> dict[str, Measure]:
    """Return what changed between the reference's answers and a policy's, prompt by prompt.

    change   difference in r*
    proxy_change  difference in words of praise
    win_rate share of prompts where the policy's answer has the higher r*, equal ones counting half
    kl       of the policy from the reference, on the policy's answers, nats an answer
    """
    reward = built.world.reward
    pairs = list(zip(after.score(reward), before.score(reward), strict=True))
    proxies = zip(after.score(reward.proxy), before.score(reward.proxy), strict=True)
    reference = Policy(load_model(str(built.model)).model)
    return {
        "change": mean_interval([own - other for own, other in pairs]),
        "proxy_change": mean_interval([own - other for own, other in proxies]),
        "win_rate": share_interval([(own > other) + 0.5 * (own == other) for own, other in pairs]),
        "kl": divergence(reference, after.prompts, after.samples, bin_tokens=_BIN_TOKENS),
    }


def agreement(built: Built) -> Measure:
    """Return how often r* agrees with the held-out preferences, equal rewards counting half.

    The judge errs as Bradley–Terry says, so this is about the accuracy that no model can beat.
    """
    reward = built.world.reward
    pairs = [
        (row["prompt"], reward(row["prompt"] + row["chosen"]), reward(row["prompt"] + row["rejected"]))
        for row in read_rows(built.held_out_preferences)
    ]
    agreed = [(chosen > rejected) + 0.5 * (chosen == rejected) for _, chosen, rejected in pairs]
    return share_interval(agreed, [prompt for prompt, _, _ in pairs])
