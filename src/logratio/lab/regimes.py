"""The regimes: finite worlds whose preferences are clean, noisy, contradictory, cyclic, partial or confounded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..exact import coverage, preferences
from ..exact.comparisons import Comparisons, population
from ..exact.world import World, build, random_world


@dataclass(frozen=True)
class Regime:
    """A world, who is preferred in it, and which pairs are asked.

    Attributes:
        name: Its short name, as on the command line.
        title: Heading of its column.
        about: What is the matter in it, one sentence.
        world: Prompts, responses, reference and the true reward.
        preference_XYY: P(y≻y'|x) as the labels have it.
        pairs_XYY: Which pairs are asked.
        truth_XYY: P(y≻y'|x) as the true reward has it, by Bradley and Terry.
    """

    name: str
    title: str
    about: str
    world: World
    preference_XYY: Tensor
    pairs_XYY: Tensor
    truth_XYY: Tensor

    def comparisons(self) -> Comparisons:
        """Return all comparisons, each with its share, and the gap of true rewards as its margin."""
        reward_XY = self.world.reward_XY
        gap_XYY = (reward_XY[:, :, None] - reward_XY[:, None, :]).clamp(min=0)
        return population(self.world, self.preference_XYY, self.pairs_XYY, margin_XYY=gap_XYY)


def regimes() -> dict[str, Regime]:
    """Return the regimes by name, in the order of the table."""
    return {regime.name: regime for regime in _all()}


def _all() -> Iterator[Regime]:
    world = random_world(3, prompts=2, responses=4, longest=5)
    clean = preferences.bradley_terry(world.reward_XY)
    asked = coverage.uniform(*world.shape)
    plain = Regime(
        "clean", "clean", "Bradley–Terry labels of the true reward, every pair asked.", world, clean, asked, clean
    )
    yield plain
    yield replace(
        plain,
        name="certain",
        title="certain",
        about="The better response always wins: labels without any doubt.",
        preference_XYY=preferences.deterministic(clean),
    )
    for rate in (0.1, 0.3):
        yield replace(
            plain,
            name=f"flips-{rate:.0%}".removesuffix("%"),
            title=f"{rate:.0%} flips",
            about=f"{rate:.0%} of the labels are turned round.",
            preference_XYY=preferences.flipped(clean, rate),
        )
    yield _two_groups(plain)
    yield from _cycles()
    yield replace(
        plain,
        name="uncompared",
        title="uncompared",
        about="The last response of each prompt is in no pair; the reference gives it some mass.",
        pairs_XYY=coverage.without(asked, [3]),
    )
    biased = world.with_reference(-2.0 * world.reward_XY)
    yield replace(
        plain,
        name="biased",
        title="biased ref.",
        about="The reference prefers what people reject: log π_ref = −2r up to a constant.",
        world=biased,
    )
    yield replace(
        plain,
        name="length",
        title="length",
        about="The longer response is preferred, one nat of log-odds a token, whatever its quality.",
        preference_XYY=preferences.longer_preferred(world.length_XY, 1.0),
    )


def _two_groups(plain: Regime) -> Regime:
    """Two equally large groups want different things; the truth is their average reward."""
    world = plain.world
    other = world.reward_XY.flip(-1)
    parts = [(0.5, plain.truth_XYY), (0.5, preferences.bradley_terry(other))]
    mean = world.with_reward((world.reward_XY + other) / 2)
    return replace(
        plain,
        name="groups",
        title="two groups",
        about="Half of the annotators reward the opposite; the truth is the average of both rewards.",
        world=mean,
        preference_XYY=preferences.mixture(parts),
        truth_XYY=preferences.bradley_terry(mean.reward_XY),
    )


def _cycles() -> Iterator[Regime]:
    """Rock, paper, scissors: no reward fits, so the truth is that none is better."""
    world = build(torch.zeros(2, 3))
    asked = coverage.uniform(*world.shape)
    even = Regime(
        "cycle",
        "cycle",
        "Rock beats scissors beats paper beats rock, each with 80 %: no reward says that. All pairs equally often.",
        world,
        preferences.cycle(0.8, prompts=2),
        asked,
        preferences.bradley_terry(world.reward_XY),
    )
    yield even
    share = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64).log().expand(2, 3)
    yield replace(
        even,
        name="cycle-uneven",
        title="uneven cycle",
        about="The same cycle, its pairs drawn from a policy (0.6, 0.3, 0.1): off-policy data makes up a winner.",
        pairs_XYY=coverage.product(share),
    )
