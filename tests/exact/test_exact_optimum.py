import math

import pytest
import torch
from torch.nn.functional import softplus

from logratio.exact import comparisons, coverage, fdivergence, gibbs, preferences
from logratio.exact.optimum import logit_gradient, minimise
from logratio.exact.world import build, policy, random_world

WORLD = random_world(1, prompts=3, responses=5)
TRUE = preferences.bradley_terry(WORLD.reward_XY)
PAIRS = {
    "uniform": coverage.uniform(3, 5),
    "uneven": coverage.uneven(3, 3, 5),
    "off-policy": coverage.product(policy(3 * random_world(9, prompts=3, responses=5).reward_XY)),
    "chain": coverage.only(3, 5, [(0, 1), (1, 2), (2, 3), (3, 4)]),
}


def paired(world, rows, loss):
    """The population loss Σ w·loss(h), h = a_w − a_l of log-ratios, of the logits."""
    wins = rows.wins(*world.shape)

    def total(logits_XY):
        a = policy(logits_XY) - world.reference_XY
        return (wins * loss(a[:, :, None] - a[:, None, :])).sum()

    return total


def dpo(beta, smoothing=0.0):
    return lambda h: (1 - smoothing) * softplus(-beta * h) + smoothing * softplus(beta * h)


def robust(beta, rate):
    return lambda h: ((1 - rate) * softplus(-beta * h) - rate * softplus(beta * h)) / (1 - 2 * rate)


def ipo(tau):
    return lambda h: (h - 1 / (2 * tau)) ** 2


def hinge(beta):
    return lambda h: torch.relu(1 - beta * h)


def one_pair(p, reference=0.0):
    """Two responses, the first preferred with probability p."""
    world = build(torch.zeros(1, 2), reference_XY=torch.tensor([[reference, 0.0]]))
    preference = torch.tensor([[[0.5, p], [1 - p, 0.5]]], dtype=torch.float64)
    return world, comparisons.population(world, preference, coverage.uniform(1, 2))


def margin(world, found):
    """h = a_0 − a_1 at prompt 0."""
    a = found.policy_XY - world.reference_XY
    return (a[0, 0] - a[0, 1]).item()


@pytest.mark.parametrize("pairs", PAIRS)
@pytest.mark.parametrize("beta", [0.05, 0.5])
def test_dpo_finds_the_gibbs_optimum_for_every_connected_pair_distribution(pairs, beta):
    assert (coverage.components(PAIRS[pairs]) == 0).all()
    found = minimise(paired(WORLD, comparisons.population(WORLD, TRUE, PAIRS[pairs]), dpo(beta)), WORLD.reference_XY)
    best = gibbs.optimum(WORLD, beta)
    assert (found.kind, found.free) == ("finite", 0) and found.gradient <= 1e-12
    assert (found.policy_XY.exp() - best.exp()).abs().max() <= 1e-10
    assert (beta * (found.policy_XY - best)).abs().max() <= 1e-10
    assert gibbs.regret(WORLD, found.policy_XY, beta).abs().max() <= 1e-10


@pytest.mark.parametrize("smoothing", [0.05, 0.2])
def test_conservative_dpo_on_certain_labels_stops_at_the_logit_of_one_minus_epsilon(smoothing):
    world, rows = one_pair(1.0, reference=0.7)
    found = minimise(paired(world, rows, dpo(0.3, smoothing)), world.reference_XY)
    assert found.kind == "finite"
    assert 0.3 * margin(world, found) == pytest.approx(math.log((1 - smoothing) / smoothing), abs=1e-10)


@pytest.mark.parametrize("p", [0.8, 1.0])
def test_ipo_on_one_pair_stops_at_its_linear_target(p):
    """h* = (p − ½)/τ, 1/(2τ) for a certain label."""
    world, rows = one_pair(p, reference=-0.4)
    found = minimise(paired(world, rows, ipo(0.2)), world.reference_XY)
    assert found.kind == "finite" and margin(world, found) == pytest.approx((p - 0.5) / 0.2, abs=1e-10)


@pytest.mark.parametrize("preference", ["bradley-terry", "cycle"])
def test_ipo_with_independent_draws_from_mu_finds_the_linear_optimum(preference):
    """The minimiser is π ∝ π_ref·exp(P(y≻μ)/τ)."""
    world = random_world(2, prompts=2, responses=5)
    matrix = preferences.bradley_terry(world.reward_XY)
    matrix = preferences.cycle(0.9, prompts=2, responses=5) if preference == "cycle" else matrix
    rival = random_world(3, prompts=2, responses=5).reference_XY
    # `product` leaves out a response drawn twice; each prompt's scale is then its own, and its minimiser the same
    rows = comparisons.population(world, matrix, coverage.product(rival))
    found = minimise(paired(world, rows, ipo(0.1)), world.reference_XY)
    expected = gibbs.preference_optimum(world, matrix, rival, 0.1)
    assert torch.allclose(found.policy_XY, expected, rtol=0, atol=1e-10)


def test_ipo_written_with_beta_inside_the_margin_has_the_target_one_over_two_beta_squared():
    world, rows = one_pair(1.0)
    beta = 0.4
    found = minimise(paired(world, rows, lambda h: (beta * h - 1 / (2 * beta)) ** 2), world.reference_XY)
    assert margin(world, found) == pytest.approx(1 / (2 * beta**2), abs=1e-10)


def test_label_noise_shrinks_dpo_once_conservative_dpo_twice_and_robust_dpo_not_at_all():
    """p = .8, ε = .2: clean 1.386, DPO .754, cDPO .439, rDPO 1.386."""
    clean, flips = 0.8, 0.2
    noisy = (1 - flips) * clean + flips * (1 - clean)
    found = {}
    for name, p, loss in (
        ("clean", clean, dpo(1.0)),
        ("dpo", noisy, dpo(1.0)),
        ("cdpo", noisy, dpo(1.0, flips)),
        ("rdpo", noisy, robust(1.0, flips)),
    ):
        world, rows = one_pair(p)
        found[name] = margin(world, minimise(paired(world, rows, loss), world.reference_XY))
    assert found["clean"] == pytest.approx(math.log(4), abs=1e-10)
    assert found["dpo"] == pytest.approx(math.log(noisy / (1 - noisy)), abs=1e-10)
    again = (1 - flips) * noisy + flips * (1 - noisy)
    assert found["cdpo"] == pytest.approx(math.log(again / (1 - again)), abs=1e-10)
    assert found["rdpo"] == pytest.approx(math.log(4), abs=1e-10)
    assert {name: round(value, 3) for name, value in found.items()} == {
        "clean": 1.386,
        "dpo": 0.754,
        "cdpo": 0.439,
        "rdpo": 1.386,
    }


def test_label_noise_scales_ipos_margins_by_one_less_two_epsilon():
    rows = {e: comparisons.population(WORLD, preferences.flipped(TRUE, e), PAIRS["uniform"]) for e in (0.0, 0.3)}
    a = {
        e: minimise(paired(WORLD, own, ipo(0.2)), WORLD.reference_XY).policy_XY - WORLD.reference_XY
        for e, own in rows.items()
    }
    gaps = {e: value[:, :, None] - value[:, None, :] for e, value in a.items()}
    assert torch.allclose(gaps[0.3], 0.4 * gaps[0.0], rtol=0, atol=1e-10)


def test_certain_labels_send_dpo_to_a_limit_where_only_the_best_response_is_left():
    rows = comparisons.population(WORLD, preferences.deterministic(TRUE), PAIRS["uniform"])
    for beta in (0.05, 1.0):
        found = minimise(paired(WORLD, rows, dpo(beta)), WORLD.reference_XY)
        assert (found.kind, found.attained) == ("limit", False)
        best = WORLD.reward_XY.argmax(-1)
        assert torch.equal(~found.vanishing_XY, torch.nn.functional.one_hot(best, 5).bool())
        assert torch.allclose(found.policy_XY.exp(), torch.nn.functional.one_hot(best, 5).double())
        assert found.loss < 1e-8


def test_certain_labels_of_one_pair_among_three_move_only_what_they_compare():
    """Response 2 keeps its reference log-ratio to nothing: it is never compared, so it is free."""
    world = build(torch.tensor([[1.0, 0.0, 0.0]]))
    certain = preferences.deterministic(preferences.bradley_terry(world.reward_XY))
    rows = comparisons.population(world, certain, coverage.only(1, 3, [(0, 1)]))
    found = minimise(paired(world, rows, dpo(0.5)), world.reference_XY)
    assert (found.kind, found.free) == ("limit", 1)
    assert found.vanishing_XY.tolist()[0][1]


def test_a_certain_cycle_has_a_finite_dpo_optimum_since_everybody_beats_somebody():
    """Ford 1957: the likelihood has a maximum exactly where wins connect every response to every other."""
    world = build(torch.zeros(1, 3), reference_XY=torch.tensor([[0.3, -0.2, 0.0]]))
    rows = comparisons.population(
        world, preferences.cycle(1.0), coverage.product(torch.tensor([[0.6, 0.3, 0.1]]).log())
    )
    found = minimise(paired(world, rows, dpo(0.2)), world.reference_XY)
    assert (found.kind, found.free) == ("finite", 0)


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_robust_dpo_is_unbounded_below_on_certain_labels(rate):
    rows = comparisons.population(WORLD, preferences.deterministic(TRUE), PAIRS["uniform"])
    found = minimise(paired(WORLD, rows, robust(0.1, rate)), WORLD.reference_XY)
    assert found.kind == "unbounded" and found.loss < -10
    assert torch.equal(found.vanishing_XY.logical_not().sum(-1), torch.ones(3).long())


def test_unlikelihood_is_unbounded_below():
    world, rows = one_pair(1.0)
    wins = rows.wins(1, 2)

    def loss(logits_XY):
        s = policy(logits_XY)
        return (wins * (-s[:, :, None] + 0.5 * s[:, None, :])).sum()

    assert minimise(loss, world.reference_XY).kind == "unbounded"


def test_a_hinge_stops_on_a_plateau_for_certain_labels_and_at_a_kink_for_uncertain_ones():
    """One pair, p > ½: p·max(0, 1−u) + (1−p)·max(0, 1+u) has its least value 2(1−p) at u = 1."""
    world, rows = one_pair(1.0)
    found = minimise(paired(world, rows, hinge(0.5)), world.reference_XY)
    assert (found.kind, found.free, found.loss) == ("finite", 1, 0.0) and 0.5 * margin(world, found) >= 1
    world, rows = one_pair(0.8, reference=0.3)
    found = minimise(paired(world, rows, hinge(0.5)), world.reference_XY)
    assert found.kind == "boundary" and 0.5 * margin(world, found) == pytest.approx(1, abs=1e-8)
    assert found.loss == pytest.approx(0.4, abs=1e-10)


def test_a_hinge_on_many_pairs_reaches_its_kink_from_everywhere():
    rows = comparisons.population(WORLD, TRUE, PAIRS["uniform"])
    found = minimise(paired(WORLD, rows, hinge(0.5)), WORLD.reference_XY)
    again = minimise(paired(WORLD, rows, hinge(0.5)), 3 * random_world(6, prompts=3, responses=5).reward_XY)
    assert found.kind == again.kind == "boundary" and found.loss == pytest.approx(again.loss, abs=1e-9)


def test_a_kink_for_some_responses_and_a_limit_for_another():
    """SLiC with its likelihood term: the pair (0, 1) stops at u = 1, and response 2, in no pair, loses all its mass."""
    world = build(torch.zeros(1, 3), reference_XY=torch.tensor([[0.3, 0.0, 0.2]]))
    preference = torch.full((1, 3, 3), 0.5, dtype=torch.float64)
    preference[0, 0, 1], preference[0, 1, 0] = 0.8, 0.2
    rows = comparisons.population(world, preference, coverage.only(1, 3, [(0, 1)]))
    ranked, good = paired(world, rows, hinge(1.0)), rows.good(1, 3)
    found = minimise(lambda z: ranked(z) - 0.01 * (good * policy(z)).sum(), world.reference_XY)
    assert found.kind == "limit" and found.vanishing_XY.tolist() == [[False, False, True]]
    assert margin(world, found) == pytest.approx(1, abs=1e-7)
    assert found.policy_XY.exp()[0, 2] == 0 and found.policy_XY.exp().sum().item() == pytest.approx(1)


def test_a_minimum_far_from_the_start_beyond_a_wide_gap_is_not_taken_for_vanishing():
    """Hinge at β = .02: its kink lies at log-ratios 50 apart, where the loser has all but vanished, and stays."""
    world, rows = one_pair(0.8)
    found = minimise(paired(world, rows, hinge(0.02)), world.reference_XY)
    assert found.kind == "boundary" and 0.02 * margin(world, found) == pytest.approx(1, abs=1e-8)


def test_a_saturating_loss_on_certain_labels_is_a_limit():
    """APO-zero: 1 − σ(βa_w) + σ(βa_l)."""
    world, rows = one_pair(1.0)
    wins = rows.wins(1, 2)

    def loss(logits_XY):
        u = 0.5 * (policy(logits_XY) - world.reference_XY)
        return (wins * (1 - u.sigmoid()[:, :, None] + u.sigmoid()[:, None, :])).sum()

    found = minimise(loss, world.reference_XY)
    assert found.kind == "limit" and found.vanishing_XY.tolist() == [[False, True]]


def test_a_local_minimum_behind_a_barrier_is_where_descent_from_its_side_leads():
    """DiscoPOP: (1−s)ℓ(u) + s·e^{−u}, s = σ(u/τ), τ = .05: local minimum at u/β = −2.37 (.7859), maximum at 1.44."""
    world, rows = one_pair(1.0)

    def discopop(h):
        u = 0.05 * h
        s = torch.sigmoid(u / 0.05)
        return (1 - s) * softplus(-u) + s * torch.exp(-u)

    low = minimise(paired(world, rows, discopop), world.reference_XY)
    assert low.kind == "finite" and margin(world, low) == pytest.approx(-2.37, abs=0.005)
    assert low.loss == pytest.approx(0.7859, abs=5e-5)
    beyond = minimise(paired(world, rows, discopop), world.reference_XY + torch.tensor([[3.0, 0.0]]))
    assert beyond.kind == "limit" and beyond.loss < 1e-8


@pytest.mark.parametrize(
    "link",
    [
        fdivergence.link("reverse_kl"),
        fdivergence.link("forward_kl"),
        fdivergence.link("jensen_shannon"),
        fdivergence.link("chi_mixture"),
        fdivergence.link("alpha", alpha=0.4),
    ],
)
def test_f_dpo_under_bradley_terry_recovers_the_optimum_of_its_own_divergence(link):
    beta, wins = 0.4, comparisons.population(WORLD, TRUE, PAIRS["uneven"]).wins(3, 5)

    def loss(logits_XY):
        slope = beta * link.slope(policy(logits_XY) - WORLD.reference_XY)
        return (wins * softplus(slope[:, None, :] - slope[:, :, None])).sum()

    found = minimise(loss, WORLD.reference_XY)
    assert found.kind == "finite"
    assert torch.allclose(found.policy_XY, fdivergence.optimum(WORLD, beta, link), rtol=0, atol=1e-9)


def test_a_cycle_asked_evenly_returns_the_reference_and_unevenly_manufactures_a_winner():
    """a = .8, μ = (.6, .3, .1): maximum-likelihood offsets (.257, −.642, .385)."""
    world = build(torch.zeros(1, 3), reference_XY=torch.tensor([[0.5, 0.0, -0.3]]))
    cycle = preferences.cycle(0.8)
    rival = torch.tensor([[0.6, 0.3, 0.1]], dtype=torch.float64).log()
    for loss in (dpo(1.0), ipo(0.1)):
        even = minimise(paired(world, comparisons.population(world, cycle, PAIRS_3), loss), world.reference_XY)
        assert torch.allclose(even.policy_XY, world.reference_XY, rtol=0, atol=1e-10)
    rows = comparisons.population(world, cycle, coverage.product(rival))
    found = minimise(paired(world, rows, dpo(1.0)), world.reference_XY)
    offsets = found.policy_XY - world.reference_XY
    offsets = (offsets - offsets.mean())[0].tolist()
    assert offsets == pytest.approx([0.257, -0.642, 0.385], abs=5e-4)
    tilted = minimise(paired(world, rows, ipo(0.1)), world.reference_XY).policy_XY
    wins = torch.tensor([[0.56, 0.35, 0.59]], dtype=torch.float64)
    assert torch.allclose(tilted, policy(world.reference_XY + wins / 0.1), rtol=0, atol=1e-10)


PAIRS_3 = coverage.uniform(1, 3)


def test_no_reward_fits_a_cycle_so_the_loss_stays_above_the_mean_entropy():
    world = build(torch.zeros(1, 3))
    rows = comparisons.population(
        world, preferences.cycle(0.8), coverage.product(torch.tensor([[0.6, 0.3, 0.1]]).log())
    )
    entropy = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    assert minimise(paired(world, rows, dpo(1.0)), world.reference_XY).loss > entropy + 0.05
    fitted = comparisons.population(WORLD, TRUE, PAIRS["uniform"])
    floor = -(fitted.weight_C * torch.log(TRUE[fitted.prompt_C, fitted.winner_C, fitted.loser_C])).sum()
    assert minimise(paired(WORLD, fitted, dpo(1.0)), WORLD.reference_XY).loss == pytest.approx(floor.item(), abs=1e-12)


def test_misspecified_dpo_solves_the_likelihood_equations_and_ranks_evenly_asked_responses_by_borda():
    """Σ_b w_ab·(p_ab − σ(u_ab)) = 0 for each a."""
    draw = torch.rand(3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    strange = (draw + 1 - draw.transpose(1, 2)) / 2
    rows = comparisons.population(WORLD, strange, PAIRS["uneven"])
    u = minimise(paired(WORLD, rows, dpo(1.0)), WORLD.reference_XY).policy_XY - WORLD.reference_XY
    asked = rows.wins(3, 5) + rows.wins(3, 5).transpose(1, 2)
    residual = asked * (strange - torch.sigmoid(u[:, :, None] - u[:, None, :]))
    assert residual.sum(-1).abs().max() < 1e-13
    rows = comparisons.population(WORLD, strange, PAIRS["uniform"])
    u = minimise(paired(WORLD, rows, dpo(1.0)), WORLD.reference_XY).policy_XY - WORLD.reference_XY
    assert torch.equal(u.argsort(-1), strange.sum(-1).argsort(-1))


def test_a_response_in_no_pair_gets_exactly_no_gradient_and_keeps_its_place_at_the_start():
    """Coverage: its mass is arbitrary, and ratios across components are not identified."""
    rows = comparisons.population(WORLD, TRUE, coverage.without(PAIRS["uneven"], [2]))
    loss = paired(WORLD, rows, dpo(0.3))
    gradient = logit_gradient(loss, random_world(8, prompts=3, responses=5).reward_XY)
    assert (gradient[:, 2].abs() <= 1e-17).all() and (gradient[:, [0, 1, 3, 4]].abs() > 1e-6).all()
    found = minimise(loss, WORLD.reference_XY)
    assert (found.kind, found.free) == ("finite", 3)
    gap = 0.3 * (found.policy_XY - WORLD.reference_XY) - WORLD.reward_XY
    seen = gap[:, [0, 1, 3, 4]]
    assert torch.allclose(seen, seen[:, :1].expand_as(seen), rtol=0, atol=1e-10)


def test_only_ratios_inside_a_component_are_identified():
    rows = comparisons.population(WORLD, TRUE, coverage.only(3, 5, [(0, 1), (2, 3), (3, 4)]))
    found = minimise(paired(WORLD, rows, dpo(0.3)), WORLD.reference_XY)
    assert (found.kind, found.free) == ("finite", 3)
    gap = 0.3 * (found.policy_XY - WORLD.reference_XY) - WORLD.reward_XY
    assert torch.allclose(gap[:, 0], gap[:, 1], rtol=0, atol=1e-10)
    assert torch.allclose(gap[:, 2], gap[:, 3], rtol=0, atol=1e-10)
    assert not torch.allclose(gap[:, 0], gap[:, 2], rtol=0, atol=1e-3)


def test_the_gradient_of_dpo_is_weighted_by_how_wrong_the_implicit_reward_is():
    """∂L/∂logit(y) = −β·Σ_y' [w(y≻y')·σ(−u(y,y')) − w(y'≻y)·σ(−u(y',y))]: normalisers cancel."""
    rows = comparisons.population(WORLD, TRUE, PAIRS["uneven"])
    at = random_world(8, prompts=3, responses=5).reward_XY
    a = policy(at) - WORLD.reference_XY
    pull = rows.wins(3, 5) * torch.sigmoid(-0.3 * (a[:, :, None] - a[:, None, :]))
    expected = -0.3 * (pull.sum(-1) - pull.sum(-2))
    assert torch.allclose(logit_gradient(paired(WORLD, rows, dpo(0.3)), at), expected, rtol=0, atol=1e-15)


def test_error_against_sample_size_falls_as_one_over_the_root():
    whole = comparisons.population(WORLD, TRUE, PAIRS["uniform"])
    errors = {}
    for n in (1_000, 100_000):
        gaps = []
        for seed in range(6):
            rows = comparisons.sample(whole, n, seed)
            found = minimise(paired(WORLD, rows, dpo(1.0)), WORLD.reference_XY)
            gaps.append(gibbs.kl(found.policy_XY, gibbs.optimum(WORLD, 1.0)).mean().sqrt())
        errors[n] = torch.stack(gaps).mean().item()
    slope = math.log(errors[100_000] / errors[1_000]) / math.log(100)
    assert -0.65 < slope < -0.35


def test_a_loss_that_reads_nothing_is_at_its_minimum_everywhere():
    found = minimise(lambda logits_XY: torch.zeros((), dtype=torch.float64), WORLD.reference_XY)
    assert (found.kind, found.free, found.steps) == ("finite", 12, 0)
    assert torch.allclose(found.policy_XY, WORLD.reference_XY, rtol=0, atol=1e-14)


def test_a_detached_baseline_is_solved_for_its_fixed_point():
    """BCO's shape: ℓ(r̂ − δ) on good, ℓ(δ − r̂) on bad, δ = ½(E₊r̂ + E₋r̂) without gradient: not the slope of any loss."""
    rows = comparisons.population(WORLD, TRUE, PAIRS["uniform"])
    good, bad = rows.good(3, 5), rows.bad(3, 5)

    def loss(logits_XY):
        r = policy(logits_XY) - WORLD.reference_XY
        shift = ((good * r).sum() + (bad * r).sum()).detach() / 2
        return (good * softplus(shift - r) + bad * softplus(r - shift)).sum()

    found = minimise(loss, WORLD.reference_XY)
    assert found.kind == "finite" and found.gradient <= 1.5e-12
    assert logit_gradient(loss, found.policy_XY).abs().max() <= 1e-11
