"""What each estimator's gradient is in expectation: the rows of the table in docs/on-policy.md, and their deviations.

`python -m logratio.testing.expectations` prints the table. Each row enumerates everything that a policy may draw, takes
the gradient through the objective's own label and losses, and compares it with the gradient of a stated function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .. import objectives
from ..exact.tree import kl, token_kl, tree
from ..maths.kl import k3
from .enumerated import Setting, expected_gradient, random_setting

Stated = Callable[[Setting, Tensor], Tensor]
"""(setting, logits with gradient) → the function that is maximised, scalar."""

BETA = 0.3
WORLDS = {
    "uneven": (3, 2, True),
    "even": (2, 2, False),
    "arms": (4, 1, False),
}
"""Vocabulary, longest response, whether responses may end before: 7 responses of 1 and 2 tokens, 4 of 2, 4 of 1."""


@dataclass(frozen=True)
class Expectation:
    """One row.

    Attributes:
        name: Of the objective.
        settings: Beside the defaults.
        world: Name in `WORLDS`.
        k: Responses a group.
        says: The function whose gradient it is, as the page has it.
        stated: That function.
        given: Changes to the random setting.
    """

    name: str
    settings: Mapping[str, Any]
    world: str
    k: int
    says: str
    stated: Stated
    given: Callable[[Setting], Setting] = field(default=lambda setting: setting)

    def deviation(self, seed: int = 0) -> tuple[float, float]:
        """Return the largest absolute difference of the two gradients, and the largest entry of the stated one."""
        vocabulary, longest, ends = WORLDS[self.world]
        given = self.given(random_setting(tree(vocabulary, longest, ends=ends), seed=seed))
        objective = objectives.load(self.name)
        found = expected_gradient(objective, objective.settings(**self.settings), given, self.k)
        leaf_PV = given.policy_PV.clone().requires_grad_()
        (stated,) = torch.autograd.grad(-self.stated(given, leaf_PV), leaf_PV)
        return float((found - stated).abs().max()), float(stated.abs().max())

    def line(self) -> str:
        """Return the row in Markdown, its deviation with one digit."""
        told = ", ".join(f"{key}={_shown(value)}" for key, value in self.settings.items())
        cells = (f"`{self.name}`", told or "defaults", self.world, self.k, self.says, f"{self.deviation()[0]:.0e}")
        return "".join(f"| {cell} " for cell in cells) + "|"


def reward(given: Setting, logits_PV: Tensor) -> Tensor:
    """E r over responses."""
    return (given.world.logps(logits_PV).exp() * given.score_Y).sum()


def regularised(given: Setting, logits_PV: Tensor) -> Tensor:
    """E r − β·KL(π‖π_ref) over whole responses."""
    return reward(given, logits_PV) - BETA * kl(given.world, logits_PV, given.reference_PV)


def by_token(given: Setting, logits_PV: Tensor, *, forward: bool = False) -> Tensor:
    """E r − β·Σ over visited states of KL(π(·|s)‖π_ref(·|s)), or of the other divergence, visits without gradient."""
    return reward(given, logits_PV) - BETA * token_kl(given.world, logits_PV, given.reference_PV, forward=forward)


def beating(share: float) -> Stated:
    """P(π ≻ π') − τ·KL(π‖π_ref), the rival π' held fixed."""

    def value(given: Setting, logits_PV: Tensor) -> Tensor:
        wins_Y = given.preference_YY @ given.rival(share).exp()
        chance = (given.world.logps(logits_PV).exp() * wins_Y).sum()
        return chance - BETA * kl(given.world, logits_PV, given.reference_PV)

    return value


def pairs(loss: Callable[[Tensor], Tensor], share: float, optimism: float = 0.0) -> Stated:
    """−E of a loss of h under the judge's probabilities, y from π and y' from a mixture, both without gradient."""

    def value(given: Setting, logits_PV: Tensor) -> Tensor:
        own_Y, other_Y = given.world.logps(given.policy_PV), given.rival(share)
        log_Y = given.world.logps(logits_PV)
        ratio_Y = log_Y - given.world.logps(given.reference_PV)
        h_YY = ratio_Y[:, None] - ratio_Y[None]
        chance_YY = given.preference_YY
        mean_YY = chance_YY * loss(h_YY) + (1 - chance_YY) * loss(-h_YY)
        total = (own_Y.exp()[:, None] * other_Y.exp()[None] * mean_YY).sum()
        return -total - optimism * (other_Y.exp() * log_Y).sum()

    return value


def by_hand(given: Setting, logits_PV: Tensor, *, k: int, beta: float) -> Tensor:
    """Σ over groups of P·(1/k)·Σ_i [A_i·log π(y_i) − β·Σ_t k3]/|y_i|, A standardised: GRPO's, enumerated anew."""
    world = given.world
    members_GK = torch.tensor(list(product(range(len(world.sequences)), repeat=k)))
    share_G = world.logps(given.policy_PV).exp()[members_GK].prod(1)
    score_GK = given.score_Y[members_GK]
    spread_G = score_GK.std(1, correction=0, keepdim=True)
    advantage_GK = torch.where(spread_G > 1e-9, (score_GK - score_GK.mean(1, keepdim=True)) / spread_G, 0.0)
    apart_R = world.token_logps(logits_PV) - world.token_logps(given.reference_PV)
    policy_Y, kl_Y = world.logps(logits_PV) / world.length_Y, world.sums(k3(apart_R)) / world.length_Y
    value_GK = advantage_GK * policy_Y[members_GK] - beta * kl_Y[members_GK]
    return (share_G * value_GK.mean(1)).sum()


def true_values(given: Setting) -> Setting:
    """Return the setting with the critic that knows the mean of the rewards to come, KL penalty included."""
    world = given.world
    apart_R = world.token_logps(given.policy_PV) - world.token_logps(given.reference_PV)
    before_R = torch.cat([part.cumsum(0) - part for part in apart_R.split([len(own) for own in world.sequences])])
    total_Y = given.score_Y - BETA * world.sums(apart_R)
    mass_R = world.logps(given.policy_PV).exp()[world.response_R]
    come_R = mass_R * (total_Y[world.response_R] + BETA * before_R)
    value_P = torch.zeros(world.states, dtype=torch.float64).index_add(0, world.state_R, come_R)
    return replace(given, value_P=value_P / world.visits(given.policy_PV))


def scaled(of: Stated, by: float) -> Stated:
    """Return c·f."""
    return lambda given, logits_PV: by * of(given, logits_PV)


def _squared(h: Tensor) -> Tensor:
    return (h - 1 / (2 * BETA)).square()


_PLAIN = {"normalise": "none", "denominator": "constant", "constant": 1}
_OTHERS = {**_PLAIN, "leave_one_out": True}
_PPO = {"beta": BETA, "whiten": False, "centre_scores": False}

ROWS: tuple[Expectation, ...] = (
    Expectation("rloo", {"beta": BETA}, "uneven", 2, "E r − β·KL", regularised),
    Expectation("rloo", {"beta": BETA}, "uneven", 3, "E r − β·KL", regularised),
    Expectation(
        "reinforce_pp",
        {"beta": BETA, "whiten": False, "denominator": "constant", "constant": 1},
        "uneven",
        1,
        "E r − β·KL",
        regularised,
    ),
    Expectation(
        "reinforce_pp",
        {"beta": BETA, "whiten": False, "baseline": "group", "denominator": "constant", "constant": 1},
        "uneven",
        3,
        "⅔·E r − β·KL",
        lambda given, at: 2 / 3 * reward(given, at) - BETA * kl(given.world, at, given.reference_PV),
    ),
    Expectation("ppo", {**_PPO, "lam": 1.0}, "even", 1, "½·(E r − β·KL)", scaled(regularised, 1 / 2)),
    Expectation(
        "ppo", {**_PPO, "lam": 0.95}, "even", 1, "½·(E r − β·KL), true values", scaled(regularised, 1 / 2), true_values
    ),
    Expectation(
        "grpo", {"beta": BETA, "kl": "k1_reward", **_PLAIN}, "uneven", 3, "⅔·(E r − β·KL)", scaled(regularised, 2 / 3)
    ),
    Expectation("grpo", {"beta": BETA, "kl": "k1_reward", **_OTHERS}, "uneven", 3, "E r − β·KL", regularised),
    Expectation("grpo", {"beta": BETA, "kl": "k2", **_OTHERS}, "uneven", 3, "E r − β·Σ_s KL(s)", by_token),
    Expectation("grpo", {"beta": BETA, "kl": "rho_k3", **_OTHERS}, "uneven", 3, "E r − β·Σ_s KL(s)", by_token),
    Expectation(
        "grpo",
        {"beta": BETA, "kl": "k3", **_OTHERS},
        "uneven",
        3,
        "E r − β·Σ_s KL(π_ref(·\\|s)‖π(·\\|s))",
        lambda given, at: by_token(given, at, forward=True),
    ),
    Expectation("grpo", {"beta": BETA, "kl": "k2", **_OTHERS}, "arms", 3, "E r − β·KL", regularised),
    Expectation("grpo", {"beta": BETA, "kl": "rho_k3", **_OTHERS}, "arms", 3, "E r − β·KL", regularised),
    Expectation(
        "grpo", {"beta": 0.0, "normalise": "none", "denominator": "token"}, "even", 3, "⅓·E r", scaled(reward, 1 / 3)
    ),
    Expectation(
        "grpo",
        {"beta": BETA},
        "uneven",
        3,
        "none; the same sum, written anew",
        lambda given, at: by_hand(given, at, k=3, beta=BETA),
    ),
    Expectation("gspo", {"normalise": "none"}, "even", 3, "⅓·E r", scaled(reward, 1 / 3)),
    Expectation(
        "gspo", {}, "uneven", 3, "none; the same sum, written anew", lambda given, at: by_hand(given, at, k=3, beta=0.0)
    ),
    Expectation("nash_md", {"tau": BETA, "mixture": 0.25}, "uneven", 1, "P(π≻π') − τ·KL, π' fixed", beating(0.25)),
    Expectation("nash_md", {"tau": BETA, "mixture": 0.25}, "even", 2, "P(π≻π') − τ·KL, π' fixed", beating(0.25)),
    Expectation("nash_md", {"tau": BETA, "mixture": 0.0}, "uneven", 2, "P(π≻π') − τ·KL, π' = π fixed", beating(0.0)),
    Expectation(
        "dpo", {"beta": BETA}, "uneven", 2, "−E ℓ(h), pairs of π fixed", pairs(lambda h: softplus(-BETA * h), 0.0)
    ),
    Expectation("ipo", {"tau": BETA}, "uneven", 2, "−E (h − 1/2τ)², pairs of π fixed", pairs(_squared, 0.0)),
    Expectation(
        "xpo",
        {"beta": BETA, "alpha": 0.7},
        "uneven",
        1,
        "−E ℓ(h) − α·E_ref log π, pairs of π and π_ref fixed",
        pairs(lambda h: softplus(-BETA * h), 1.0, 0.7),
    ),
)
"""What is proved. π_ref, scores, preferences and the policy are random, none of them alike."""

HEAD = "| objective | settings | world | G | its gradient is that of | deviation |"


def table() -> str:
    """Return the rows as a Markdown table."""
    return "\n".join((HEAD, "| --- " * HEAD.count(" | ") + "| --- |", *(row.line() for row in ROWS)))


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    print(table())
