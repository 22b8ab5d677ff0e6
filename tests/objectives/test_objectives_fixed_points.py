"""Where each method comes to rest, in worlds whose optimum is known."""

import math
from dataclasses import replace

import pytest
import torch

from logratio import objectives
from logratio.exact import games
from logratio.exact.comparisons import population
from logratio.exact.optimum import minimise
from logratio.exact.population import compared
from logratio.exact.tree import kl, tree
from logratio.exact.world import build
from logratio.testing.enumerated import Setting, expected_gradient, random_setting, sampled_gradient


def climb(name, settings, given, k, *, steps, rate):
    """Descend the expected gradient, the policy of each step being the one that draws.

    Each slope is divided by how often its token is drawn, the natural gradient's scale: few steps suffice.
    """
    objective = objectives.load(name)
    chosen = objective.settings(**settings)
    for _ in range(steps):
        slope = expected_gradient(objective, chosen, given, k, compared=name in ("dpo", "nash_md"))
        drawn = given.world.visits(given.policy_PV)[:, None] * given.policy_PV.softmax(-1)
        given = replace(given, policy_PV=given.policy_PV - rate * slope / drawn)
    return given, float(slope.abs().max())


def two_arms(p):
    """Rewards 1 and 0, a uniform reference, and a policy that takes the first with probability p."""
    world = tree(2, 1, ends=False)
    logits = torch.tensor([[math.log(p), math.log(1 - p)]], dtype=torch.float64)
    score = torch.tensor([1.0, 0.0], dtype=torch.float64)
    even = torch.full((2, 2), 0.5, dtype=torch.float64)
    return Setting(world, logits, torch.zeros(1, 2, dtype=torch.float64), score, even, torch.zeros(1).double())


def slope(p, k=128, **settings):
    """∂loss/∂(logit of the first arm): below 0 where the method wants more of it."""
    grpo = objectives.load("grpo")
    return expected_gradient(grpo, grpo.settings(beta=0.5, **settings), two_arms(p), k, compared=False)[0, 0].item()


def test_grpo_as_in_its_paper_rests_at_its_own_fixed_point():
    """Many responses: √(p(1−p)) = β(p − ½), the left side from standardised rewards, the right from k3: p = 0.947."""
    low, high = 0.5, 1.0
    for _ in range(60):
        p = (low + high) / 2
        low, high = (p, high) if math.sqrt(p * (1 - p)) > 0.5 * (p - 0.5) else (low, p)
    assert p == pytest.approx(0.947, abs=5e-4)
    gibbs = 1 / (1 + math.exp(-2))
    assert gibbs == pytest.approx(0.881, abs=5e-4)
    assert slope(p) == pytest.approx(0, abs=8e-3)  # it shrinks as 1/G: 0.002 with 256 responses, 0.011 with 64
    assert slope(p - 0.01) < -5e-3 and slope(p + 0.01) > 5e-3 and slope(gibbs) < -0.05


@pytest.mark.parametrize("kl_kind", ["k2", "rho_k3", "k1_reward"])
def test_without_the_standard_deviation_it_rests_at_gibbs(kl_kind):
    gibbs = 1 / (1 + math.exp(-2))
    for k in (2, 8):
        assert abs(slope(gibbs, k, normalise="none", leave_one_out=True, kl=kl_kind)) < 1e-15
    assert slope(gibbs - 0.02, 8, normalise="none", leave_one_out=True, kl=kl_kind) < -1e-3


def test_a_mean_that_counts_the_response_itself_is_a_stronger_penalty():
    """(1 − 1/G)·E r − β·KL: the optimum is Gibbs' at β·G/(G − 1), but for a KL inside the reward."""
    for k in (2, 4):
        moved = 1 / (1 + math.exp(-2 * (k - 1) / k))
        assert abs(slope(moved, k, normalise="none", kl="k2")) < 1e-15
    assert abs(slope(1 / (1 + math.exp(-2)), 2, normalise="none", kl="k1_reward")) < 1e-15


def best_value(given, beta):
    """max E r − β·KL over whole responses, β·log Z."""
    return beta * torch.logsumexp(given.world.logps(given.reference_PV) + given.score_Y / beta, 0)


def value(given, beta):
    chance = given.world.logps(given.policy_PV).exp()
    return (chance * given.score_Y).sum() - beta * kl(given.world, given.policy_PV, given.reference_PV)


REACH = pytest.mark.parametrize(
    ("name", "settings", "k", "shape"),
    [
        ("rloo", {"beta": 0.5}, 2, (3, 2, True)),
        ("reinforce_pp", {"beta": 0.5, "whiten": False, "denominator": "constant", "constant": 1}, 1, (3, 2, True)),
        ("grpo", {"beta": 0.5, "normalise": "none", "leave_one_out": True, "kl": "k2"}, 2, (3, 1, False)),
        ("grpo", {"beta": 0.5, "normalise": "none", "leave_one_out": True, "kl": "rho_k3"}, 2, (3, 1, False)),
        ("ppo", {"beta": 0.5, "whiten": False, "lam": 1.0, "centre_scores": False}, 1, (2, 2, False)),
        ("dpo", {"beta": 1.0}, 2, (3, 2, True)),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)


def judged(shape):
    """A random setting whose preferences are Bradley–Terry's on its scores."""
    given = random_setting(tree(*shape[:2], ends=shape[2]))
    return replace(given, preference_YY=torch.sigmoid(given.score_Y[:, None] - given.score_Y[None]))


@REACH
def test_it_reaches_the_value_of_the_gibbs_optimum(name, settings, k, shape):
    """DPO on fresh pairs, judged by Bradley–Terry on the same scores, as much as the policy gradients."""
    given = judged(shape)
    beta = settings["beta"]
    before = (best_value(given, beta) - value(given, beta)).item()
    found, _ = climb(name, settings, given, k, steps=40, rate={"dpo": 4.0, "ppo": 2.0}.get(name, 1.0))
    after = (best_value(found, beta) - value(found, beta)).item()
    assert before > 0.04 and -1e-12 < after < 1e-6


@REACH
def test_it_reaches_that_value_on_samples_too(name, settings, k, shape):
    """64 groups a phase, 60 phases, each learned from once, the rate falling; within sampling error."""
    given, objective, beta = judged(shape), objectives.load(name), settings["beta"]
    before = (best_value(given, beta) - value(given, beta)).item()
    for phase in range(60):
        slope = sampled_gradient(objective, objective.settings(**settings), given, k, groups=64, seed=phase)
        drawn = given.world.visits(given.policy_PV)[:, None] * given.policy_PV.softmax(-1)
        rate = {"dpo": 4.0, "ppo": 2.0}.get(name, 1.0) / (1 + phase / 5)
        given = replace(given, policy_PV=given.policy_PV - rate * slope / drawn.clamp(min=0.05))
    after = (best_value(given, beta) - value(given, beta)).item()
    assert before > 0.04 and 0 <= after < 0.005, (before, after)


@pytest.mark.parametrize(("name", "k"), [("rloo", 2), ("grpo", 2), ("nash_md", 1), ("xpo", 1), ("ppo", 1), ("dpo", 2)])
def test_a_large_phase_s_gradient_is_the_enumerated_one_within_sampling_error(name, k):
    given, objective = random_setting(tree(2, 2, ends=False)), objectives.load(name)
    settings = objective.settings(**({"whiten": False, "centre_scores": False} if name == "ppo" else {}))
    exact = expected_gradient(objective, settings, given, k)
    drawn = torch.stack([sampled_gradient(objective, settings, given, k, groups=128, seed=seed) for seed in range(16)])
    error = drawn.std(0) / 4
    assert ((drawn.mean(0) - exact).abs() < 4.5 * error + 1e-12).all() and exact.abs().max() > 1e-3


CYCLE = torch.tensor([[0.5, 0.8, 0.2], [0.2, 0.5, 0.8], [0.8, 0.2, 0.5]], dtype=torch.float64)
"""Rock, paper, scissors: each beats the next with probability 0.8."""
START = torch.tensor([[0.6, 0.3, 0.1]], dtype=torch.float64).log()


def cycle():
    world = tree(3, 1, ends=False)
    return Setting(world, START, START, torch.zeros(3).double(), CYCLE, torch.zeros(1).double())


def test_nash_md_in_self_play_comes_to_the_equilibrium_of_the_game():
    for tau in (0.3, 1.0):
        found, still = climb("nash_md", {"tau": tau, "mixture": 0.0}, cycle(), 2, steps=60, rate=1.0)
        nash = games.nash(START, CYCLE[None], tau)
        assert (found.policy_PV.log_softmax(-1) - nash).abs().max() < 1e-6 and still < 1e-6
        assert (nash - START).abs().max() > 0.05


def test_nash_md_with_a_mixture_that_stays_comes_to_rest_beside_it():
    """At π ∝ μ·exp(P(·≻π')/τ), π' ∝ π^{1−λ}·μ^λ."""
    tau, share = 0.3, 0.25
    found, still = climb("nash_md", {"tau": tau, "mixture": share}, cycle(), 1, steps=60, rate=1.0)
    own = found.policy_PV.log_softmax(-1)
    rival = ((1 - share) * own + share * START).softmax(-1)
    answer = (START + (CYCLE @ rival[0])[None] / tau).log_softmax(-1)
    assert still < 1e-6 and (own - answer).abs().max() < 1e-5
    assert (own - games.nash(START, CYCLE[None], tau)).abs().max() > 1e-2


def sppo_round(at_XY, beta):
    """Minimise SPPO's loss over all pairs that a policy writes, with that policy as the reference."""
    sppo = objectives.load("sppo")
    world = build(torch.zeros(1, 3), reference_XY=at_XY)
    mass = at_XY.exp()
    data = compared(world, population(world, CYCLE[None], mass[:, :, None] * mass[:, None, :]))

    def loss(logits_XY):
        losses = sppo.losses(data.logps(logits_XY.log_softmax(-1)), data.batch, sppo.settings(beta=beta))
        return data.mean(losses["sppo"], "edge")

    return minimise(loss, at_XY).policy_XY


def test_a_round_of_sppo_is_a_step_of_multiplicative_weights():
    """To first order in η = 1/β: π_{t+1} ∝ π_t·exp(η·P(·≻π_t)); the rest is the normalisation that it leaves out."""
    for beta, off in ((4.0, 1e-2), (16.0, 7e-4)):
        exact = games.multiplicative_weights(START, CYCLE[None], eta=1 / beta, steps=1).last_XY
        assert (sppo_round(START, beta) - exact).abs().max() < off < (exact - START).abs().max()


def test_rounds_of_sppo_circle_the_equilibrium_and_their_average_comes_to_it():
    at_XY, total = START, torch.zeros(1, 3, dtype=torch.float64)
    for _ in range(40):
        at_XY = sppo_round(at_XY, 1.0)
        total += at_XY.exp()
    average, last = ((mass - 1 / 3).abs().max() for mass in (total / 40, at_XY.exp()))
    assert average < 0.06 < 0.25 < last and (START.exp() - 1 / 3).abs().max() > 0.25
    exact = games.multiplicative_weights(START, CYCLE[None], eta=1.0, steps=40)
    assert (total / 40 - exact.average_XY.exp()).abs().max() < 0.02


def test_ipo_on_fresh_pairs_rests_at_the_same_equilibrium():
    tau = 0.3
    nash = games.nash(START, CYCLE[None], tau)
    ipo = objectives.load("ipo")
    at_nash = expected_gradient(ipo, ipo.settings(tau=tau), replace(cycle(), policy_PV=nash), 2)
    elsewhere = expected_gradient(ipo, ipo.settings(tau=tau), cycle(), 2)
    assert at_nash.abs().max() < 1e-12 and elsewhere.abs().max() > 1e-2
