import pytest
import torch

from logratio.errors import ConfigError
from logratio.exact import bestofn, gibbs, preferences
from logratio.exact.world import build, policy, random_world

WORLD = random_world(3, prompts=4, responses=6)
BETAS = [0.05, 0.3, 2.0]


def around(policy_XY, scale, seed=0):
    """Policies near one, by noise on its logits."""
    draw = torch.Generator().manual_seed(seed)
    return [policy(policy_XY + scale * torch.randn(policy_XY.shape, generator=draw).double()) for _ in range(20)]


@pytest.mark.parametrize("beta", BETAS)
def test_the_optimum_has_value_beta_log_z_and_every_other_policy_loses_beta_times_kl(beta):
    best = gibbs.optimum(WORLD, beta)
    top = gibbs.value(WORLD, best, beta)
    assert torch.allclose(top, beta * gibbs.log_partition(WORLD, beta), rtol=0, atol=1e-12)
    for other in [*around(best, 0.1), *around(WORLD.reference_XY, 1.0)]:
        loss = top - gibbs.value(WORLD, other, beta)
        assert (loss > -1e-12).all()
        assert torch.allclose(loss, gibbs.regret(WORLD, other, beta), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("beta", BETAS)
def test_the_implicit_reward_of_the_optimum_is_the_reward_less_beta_log_z(beta):
    implied = gibbs.implicit_reward(WORLD, gibbs.optimum(WORLD, beta), beta)
    expected = WORLD.reward_XY - beta * gibbs.log_partition(WORLD, beta)[:, None]
    assert torch.allclose(implied, expected, rtol=0, atol=1e-12)


def test_a_constant_added_to_a_prompts_rewards_changes_nothing():
    shifted = WORLD.with_reward(WORLD.reward_XY + torch.tensor([[5.0], [-2.0], [0.0], [1e3]]))
    assert torch.allclose(gibbs.optimum(shifted, 0.3), gibbs.optimum(WORLD, 0.3), rtol=0, atol=1e-10)


def test_kl_is_zero_for_equals_only_asymmetric_and_counts_a_vanished_response_as_nothing():
    p, q = gibbs.optimum(WORLD, 0.5), WORLD.reference_XY
    assert gibbs.kl(p, p).abs().max() == 0
    assert (gibbs.kl(p, q) > 0).all() and not torch.allclose(gibbs.kl(p, q), gibbs.kl(q, p))
    half = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64).log()
    third = torch.full((1, 3), 1 / 3, dtype=torch.float64).log()
    assert gibbs.kl(half, third).item() == pytest.approx(torch.tensor(1.5).log().item(), abs=1e-7)
    assert gibbs.kl(third, half).item() == float("inf")


def test_the_preference_optimum_maximises_the_win_rate_less_tau_times_kl():
    preference = preferences.bradley_terry(WORLD.reward_XY)
    rival, tau = policy(torch.linspace(-1, 1, 24).reshape(4, 6).double()), 0.2

    def objective(policy_XY):
        return gibbs.win_rate(preference, policy_XY, rival) - tau * gibbs.kl(policy_XY, WORLD.reference_XY)

    best = gibbs.preference_optimum(WORLD, preference, rival, tau)
    for other in [*around(best, 0.05), WORLD.reference_XY]:
        assert (objective(best) > objective(other)).all()


def test_a_policy_wins_half_the_time_against_itself():
    preference = preferences.cycle(0.8, prompts=4, responses=5)
    some = random_world(1, prompts=4, responses=5).reference_XY
    assert torch.allclose(gibbs.win_rate(preference, some, some), torch.full((4,), 0.5).double(), rtol=0, atol=1e-13)


def test_ipo_with_two_responses_a_certain_label_and_an_even_reference_is_sigma_of_one_over_two_tau():
    """OBJECTIVES: "deterministic two-arm uniform ref: σ(1/(2τ))", since P(y≻μ) = ¾ and ¼."""
    world = build(torch.tensor([[1.0, 0.0]]))
    certain = preferences.deterministic(preferences.bradley_terry(world.reward_XY))
    for tau in (0.1, 0.7):
        best = gibbs.preference_optimum(world, certain, world.reference_XY, tau).exp()
        assert best[0, 0].item() == pytest.approx(torch.sigmoid(torch.tensor(1 / (2 * tau))).item(), abs=1e-6)


def enumerated_best_of(mass, score, n):
    """Best-of-n by listing all n-tuples; the first of equal scores is kept."""
    out = torch.zeros_like(mass)
    for draw in torch.cartesian_prod(*[torch.arange(len(mass))] * n).reshape(-1, n):
        kept = max(draw.tolist(), key=lambda y: score[y])
        out[kept] += mass[draw].prod()
    return out


@pytest.mark.parametrize("n", [1, 2, 4])
def test_best_of_n_equals_the_enumeration_of_all_samples_ties_included(n):
    world = build(torch.tensor([[0.3, 1.0, -2.0, 1.0, 0.5]]), reference_XY=torch.tensor([[0.1, -1.0, 0.4, 0.3, 0.0]]))
    found = bestofn.best_of_n(world.reference_XY, world.reward_XY, n).exp()[0]
    expected = enumerated_best_of(world.reference_XY.exp()[0], world.reward_XY[0].tolist(), n)
    assert torch.allclose(found, expected, rtol=0, atol=1e-14)


def test_the_kl_of_best_of_n_stays_below_its_bound_and_reaches_it_as_responses_become_many():
    gaps = []
    for responses in (8, 80, 800):
        even = torch.zeros(1, responses, dtype=torch.float64).log_softmax(-1)
        kept = bestofn.best_of_n(even, torch.arange(responses)[None], 8)
        gaps.append(bestofn.kl_bound(8) - gibbs.kl(kept, even).item())
    assert bestofn.kl_bound(8) == pytest.approx(1.204, abs=5e-4)
    assert bestofn.kl_bound(8) - gaps[0] == pytest.approx(1.1626, abs=5e-5)
    assert gaps[0] > gaps[1] > gaps[2] > 0 and gaps[2] < 1e-5


def test_best_of_n_lies_below_the_gibbs_frontier_at_equal_kl():
    for n in (2, 4, 16):
        kept = bestofn.best_of_n(WORLD.reference_XY, WORLD.reward_XY, n)
        spent = gibbs.kl(kept, WORLD.reference_XY)
        for x in range(4):
            low, high = 1e-3, 1e3
            for _ in range(200):
                beta = (low * high) ** 0.5
                over = gibbs.kl(gibbs.optimum(WORLD, beta), WORLD.reference_XY)[x] > spent[x]
                low, high = (beta, high) if over else (low, beta)
            frontier = gibbs.expected_reward(WORLD, gibbs.optimum(WORLD, high))[x]
            assert frontier >= gibbs.expected_reward(WORLD, kept)[x]


def test_what_is_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="beta is 0; it must be > 0"):
        gibbs.optimum(WORLD, 0)
    with pytest.raises(ConfigError, match="at least 1 sample"):
        bestofn.best_of_n(WORLD.reference_XY, WORLD.reward_XY, 0)
    with pytest.raises(ConfigError, match="reference has shape"):
        build(torch.zeros(2, 3), reference_XY=torch.zeros(3, 2))
    with pytest.raises(ConfigError, match="NaN or infinite"):
        build(torch.tensor([[0.0, float("nan")]]))
    with pytest.raises(ConfigError, match="whole numbers ≥ 1"):
        build(torch.zeros(1, 2), length_XY=torch.tensor([1, 0]))
    with pytest.raises(ConfigError, match="must all be > 0"):
        build(torch.zeros(1, 2), weight_X=torch.zeros(1))
    with pytest.raises(ConfigError, match="at least 2 responses"):
        build(torch.zeros(2, 1))


def test_a_random_world_is_a_function_of_its_seed_and_normalised():
    again = random_world(3, prompts=4, responses=6)
    assert all(torch.equal(a, b) for a, b in zip(vars(WORLD).values(), vars(again).values(), strict=True))
    assert not torch.equal(WORLD.reward_XY, random_world(4, prompts=4, responses=6).reward_XY)
    assert torch.allclose(WORLD.reference_XY.exp().sum(-1), torch.ones(4).double(), rtol=0, atol=1e-14)
    assert WORLD.weight_X.sum().item() == pytest.approx(1, abs=1e-14)
    mean = WORLD.average(torch.tensor([1.0, 0.0, 0.0, 2.0]).double())
    assert mean.item() == pytest.approx((WORLD.weight_X[0] + 2 * WORLD.weight_X[3]).item(), abs=1e-15)
    assert all(table.dtype == torch.float64 for table in (WORLD.weight_X, WORLD.reference_XY, WORLD.reward_XY))
