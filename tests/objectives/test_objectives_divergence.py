"""DPO under other divergences than the reverse KL, and χPO."""

import pytest
import torch
from pair_views import close, slopes
from populations import bradley_terry, population_loss, sides
from pydantic import ValidationError

from logratio import objectives
from logratio.batch.logps import Logps
from logratio.batch.packed import pack
from logratio.exact import fdivergence, gibbs
from logratio.exact.optimum import minimise
from logratio.exact.world import policy, random_world
from logratio.objectives.chi_po import chi_po
from logratio.objectives.divergences import HIGHEST, slope
from logratio.objectives.dpo import dpo
from worlds import random_groups

WORLD = random_world(3, prompts=2, responses=4)
ROWS = bradley_terry(WORLD)
EXACT = {
    "reverse_kl": "reverse_kl",
    "forward_kl": "forward_kl",
    "js": "jensen_shannon",
    "chi_squared_mixture": "chi_mixture",
}
CHOICES = [{"divergence": name} for name in EXACT] + [{"divergence": "alpha", "alpha": value} for value in (0.3, 0.8)]
OTHERS = CHOICES[1:]
A = torch.linspace(-6, 6, 49, dtype=torch.float64)


def link(divergence, alpha=None):
    return fdivergence.link(EXACT.get(divergence, divergence), alpha=alpha)


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_the_slope_is_the_derivative_of_the_divergence_up_to_a_constant(choice):
    """d f(e^a)/da = f'(e^a)·e^a, f as the finite worlds have it."""
    a = A.clone().requires_grad_()
    (by_a,) = torch.autograd.grad(link(**choice).divergence(a).sum(), a)
    offset = by_a / A.exp() - slope(A, **choice)
    close(offset, offset[24].expand_as(A), rtol=0, atol=1e-9)


@pytest.mark.parametrize("beta", [0.2, 1.0])
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_each_divergence_recovers_the_policy_that_maximises_reward_less_beta_times_it(choice, beta):
    """Under Bradley–Terry: the minimiser of the population loss, the equation's root, and direct maximisation agree."""
    found = minimise(population_loss("dpo", WORLD, ROWS, beta=beta, **choice), WORLD.reference_XY)
    assert found.kind == "finite"
    close(found.policy_XY.exp(), fdivergence.optimum(WORLD, beta, link(**choice)).exp(), rtol=0, atol=1e-9)

    def objective(logits_XY):
        at = policy(logits_XY)
        held = fdivergence.divergence(at, WORLD.reference_XY, link(**choice))
        return -WORLD.average(gibbs.expected_reward(WORLD, at) - beta * held)

    direct = minimise(objective, WORLD.reference_XY)
    close(found.policy_XY.exp(), direct.policy_XY.exp(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("choice", OTHERS, ids=str)
def test_a_divergence_that_is_chosen_acts(choice):
    """One fused implementation builds the loss from β and type alone, so that every divergence is the reverse KL."""
    pairs = sides(A, A.flip(0) / 3)
    assert (dpo(pairs, beta=0.5, **choice) - dpo(pairs, beta=0.5)).abs().max() > 0.1
    smoothed = dpo(pairs, beta=0.5, label_smoothing=0.1, **choice)
    assert (smoothed - dpo(pairs, beta=0.5, **choice)).abs().max() > 0.01


def test_alpha_goes_to_the_reverse_kl_at_0_and_to_the_forward_kl_at_1():
    """One implementation has 1 − α in its place: then these two ends would be exchanged."""
    pairs = sides(A / 4, A.flip(0) / 9)
    for alpha, end in ((1e-7, "reverse_kl"), (1 - 1e-9, "forward_kl")):
        close(
            dpo(pairs, beta=0.5, divergence="alpha", alpha=alpha),
            dpo(pairs, beta=0.5, divergence=end),
            atol=1e-6,
            rtol=0,
        )
    own, other = (fdivergence.optimum(WORLD, 0.5, fdivergence.link("alpha", alpha=alpha)) for alpha in (0.3, 0.7))
    found = minimise(population_loss("dpo", WORLD, ROWS, beta=0.5, divergence="alpha", alpha=0.3), WORLD.reference_XY)
    close(found.policy_XY.exp(), own.exp(), rtol=0, atol=1e-9)
    assert (own.exp() - other.exp()).abs().max() > 0.01


@pytest.mark.parametrize("values", [{"alpha": 0.5}, {"divergence": "js", "alpha": 0.5}, {"divergence": "alpha"}])
def test_alpha_is_refused_where_it_would_be_ignored_and_missed_where_it_is_needed(values):
    with pytest.raises(ValidationError, match="needs an α in .0, 1. and the others have none: set both"):
        objectives.load("dpo").settings(**values)


@pytest.mark.parametrize("choice", OTHERS, ids=str)
def test_the_gradient_is_that_of_the_link(choice):
    """∂ℓ/∂a⁺ = −β·σ(−m)·d f'(e^a)/da at a⁺, and the opposite sign with the slope at a⁻ on the other side."""
    pairs = sides(A, A.flip(0) / 3)
    up, down = slopes(dpo(pairs, beta=0.4, **choice), pairs)
    steep = {
        "forward_kl": lambda a: torch.exp(-a),
        "js": lambda a: torch.sigmoid(-a),
        "alpha": lambda a: torch.exp(-choice.get("alpha", 0) * a),
        "chi_squared_mixture": lambda a: 1 + a.exp(),
    }[choice["divergence"]]
    chosen, rejected = A, A.flip(0) / 3
    pull = 0.4 * torch.sigmoid(-0.4 * (slope(chosen, **choice) - slope(rejected, **choice)))
    close(up, -pull * steep(chosen), rtol=1e-8, atol=1e-8)
    close(down, pull * steep(rejected), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("choice", OTHERS, ids=str)
def test_an_exponent_beyond_the_limit_is_held_counted_and_without_gradient(choice):
    objective = objectives.load("dpo")
    batch = pack(random_groups(4, k=2, seed=7))
    reference_R = batch.token["reference"].double()
    sign = 1.0 if choice["divergence"] == "chi_squared_mixture" else -1.0
    reach = 1.0 / choice.get("alpha", 1.0)
    shift_S = torch.zeros(batch.responses, dtype=torch.float64)
    shift_S[batch.winner_E[:2]] = torch.tensor([1.01, 0.99], dtype=torch.float64) * sign * HIGHEST * reach
    leaf_R = (reference_R + (shift_S / batch.length_S)[batch.response_R]).requires_grad_()
    settings = objective.settings(**choice)
    metrics = objective.metrics(Logps(leaf_R), batch, settings)
    if choice["divergence"] == "js":
        assert "held" not in metrics
        return
    assert metrics["held"].value.tolist() == [1, 0, 0, 0]
    slope(views_of(leaf_R, batch), **choice).sum().backward()
    by_S = batch.sum_by_response(leaf_R.grad.abs())[batch.winner_E]
    linear = choice["divergence"] == "chi_squared_mixture"
    assert by_S[1] > 1e10 and (by_S[0] < 100 if linear else by_S[0] == 0)


def views_of(leaf_R, batch):
    return batch.sum_by_response(leaf_R - batch.token["reference"].double())[batch.winner_E]


def test_chi_po_is_dpo_under_the_mixed_divergence_until_its_margin_is_clipped():
    pairs = sides(A / 2, A.flip(0) / 5)
    free = dpo(pairs, beta=0.3, divergence="chi_squared_mixture")
    margin = 0.3 * (slope(A / 2, "chi_squared_mixture") - slope(A.flip(0) / 5, "chi_squared_mixture"))
    clipped = margin.abs() > 2.0
    assert 5 < int(clipped.sum()) < 40
    loss = chi_po(pairs, beta=0.3, max_reward=1.0)
    close(loss[~clipped], free[~clipped], rtol=0, atol=1e-12)
    close(loss[clipped], torch.nn.functional.softplus(-2.0 * margin[clipped].sign()), rtol=0, atol=1e-12)
    up, down = slopes(loss, pairs)
    assert not up[clipped].any() and not down[clipped].any() and up[~clipped].all() and down[~clipped].all()


def test_chi_po_finds_the_optimum_of_its_divergence_where_rewards_are_within_its_bound():
    widest = float((WORLD.reward_XY.amax(-1) - WORLD.reward_XY.amin(-1)).max())
    found = minimise(population_loss("chi_po", WORLD, ROWS, beta=0.5, max_reward=widest), WORLD.reference_XY)
    best = fdivergence.optimum(WORLD, 0.5, fdivergence.link("chi_mixture"))
    close(found.policy_XY.exp(), best.exp(), rtol=0, atol=1e-9)
    objective = objectives.load("chi_po")
    batch = pack(random_groups(4, k=2, seed=7))
    metrics = objective.metrics(Logps(batch.token["reference"].double()), batch, objective.settings())
    assert metrics["clipped"].value.tolist() == metrics["held"].value.tolist() == [0.0] * 4
