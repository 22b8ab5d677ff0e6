import pytest
import torch

from logratio.errors import ConfigError
from logratio.exact import games, gibbs, preferences
from logratio.exact.world import policy, random_world

WORLD = random_world(4, prompts=3, responses=5)
CYCLE = preferences.cycle(0.8)
EVEN = torch.zeros(1, 3, dtype=torch.float64).log_softmax(-1)
TILTED = torch.tensor([[0.6, 0.3, 0.1]], dtype=torch.float64).log()


def strange(seed, prompts=3, responses=5):
    """A preference that no reward fits."""
    draw = torch.rand(prompts, responses, responses, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (draw + 1 - draw.transpose(1, 2)) / 2


@pytest.mark.parametrize("tau", [3.0, 0.3, 0.03, 0.005])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_equilibrium_answers_itself(tau, seed):
    preference = strange(seed)
    found = games.nash(WORLD.reference_XY, preference, tau)
    answer = policy(WORLD.reference_XY + gibbs.wins_against(preference, found) / tau)
    assert (found.exp() - answer.exp()).abs().max() <= 1e-12
    assert (found - answer).abs().max() <= 1e-12 / min(tau, 1)
    assert games.exploitability(WORLD.reference_XY, preference, found, tau).abs().max() <= 1e-12


def test_every_other_policy_can_be_exploited():
    for seed in range(5):
        other = random_world(seed, prompts=3, responses=5).reference_XY
        assert (games.exploitability(WORLD.reference_XY, strange(0), other, 0.2) > 1e-4).all()


def test_exploitability_is_the_gain_of_the_best_answer():
    """max_π' P(π'≻π) − τKL(π'‖μ) + τKL(π‖μ) − ½, the maximum being a Gibbs policy."""
    preference, tau = strange(2), 0.3
    own = random_world(9, prompts=3, responses=5).reference_XY
    answer = gibbs.preference_optimum(WORLD, preference, own, tau)
    gain = gibbs.win_rate(preference, answer, own) - tau * gibbs.kl(answer, WORLD.reference_XY)
    gain = gain + tau * gibbs.kl(own, WORLD.reference_XY) - 0.5
    assert torch.allclose(games.exploitability(WORLD.reference_XY, preference, own, tau), gain, rtol=0, atol=1e-13)


def test_as_tau_grows_the_equilibrium_is_the_reference_and_as_it_falls_the_cycles_even_one():
    far = games.nash(TILTED, CYCLE, 1e4)
    assert torch.allclose(far, TILTED, rtol=0, atol=1e-3)
    near = games.nash(TILTED, CYCLE, 1e-4)
    assert torch.allclose(near, EVEN, rtol=0, atol=2e-2)
    assert torch.allclose(games.nash(EVEN, CYCLE, 0.1), EVEN, rtol=0, atol=1e-14)


def test_multiplicative_weights_circle_while_their_average_settles():
    """Rock–paper–scissors: the last iterate leaves the equilibrium, the time average approaches it."""
    start = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log()
    short = games.multiplicative_weights(start, CYCLE, eta=0.1, steps=400)
    long = games.multiplicative_weights(start, CYCLE, eta=0.1, steps=4000)
    assert (long.last_XY - EVEN).abs().max() > (start - EVEN).abs().max()
    off = [(play.average_XY.exp() - 1 / 3).abs().max().item() for play in (short, long)]
    assert off[1] < 0.02 and off[1] < off[0]


def test_nash_md_with_decreasing_steps_reaches_the_equilibrium():
    tau, preference = 0.2, strange(3)
    exact = games.nash(WORLD.reference_XY, preference, tau)
    gaps = []
    for steps in (200, 2000):
        play = games.nash_md(WORLD.reference_XY, preference, tau, steps=steps)
        gaps.append(gibbs.kl(exact, play.last_XY).max().item())
    assert gaps[1] < gaps[0] / 20 and gaps[1] < 1e-5


def test_nash_mds_first_steps_are_those_of_the_paper():
    """η_0 = 1/τ: the mixture is μ itself. η_1 = 2/(3τ): π_1^{1/3}·μ^{2/3}."""
    tau, mu = 0.2, TILTED
    first = policy(mu + gibbs.wins_against(CYCLE, mu) / tau)
    mixed = policy(first / 3 + 2 * mu / 3)
    second = policy(mixed + 2 / (3 * tau) * gibbs.wins_against(CYCLE, mixed))
    for steps, expected in ((1, first), (2, second)):
        play = games.nash_md(mu, CYCLE, tau, steps=steps)
        assert torch.allclose(play.last_XY, expected, rtol=0, atol=1e-13)
    assert torch.allclose(play.average_XY.exp(), (first.exp() + second.exp()) / 2, rtol=0, atol=1e-14)


def test_nash_md_with_a_constant_step_settles_where_it_answers_the_mixture_and_so_is_biased():
    tau, eta = 0.2, 1.0
    play = games.nash_md(TILTED, CYCLE, tau, steps=3000, eta=eta)
    mixed = policy((1 - eta * tau) * play.last_XY + eta * tau * TILTED)
    answer = policy(TILTED + gibbs.wins_against(CYCLE, mixed) / tau)
    assert torch.allclose(play.last_XY, answer, rtol=0, atol=1e-12)
    exact = games.nash(TILTED, CYCLE, tau)
    assert gibbs.kl(play.last_XY, exact).item() > 5e-4
    smaller = games.nash_md(TILTED, CYCLE, tau, steps=20_000, eta=eta / 10).last_XY
    assert gibbs.kl(smaller, exact).item() < gibbs.kl(play.last_XY, exact).item() / 20


def test_what_is_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="eta is 6"):
        games.nash_md(EVEN, CYCLE, 0.2, steps=1, eta=6)
    with pytest.raises(ConfigError, match="steps is 0"):
        games.multiplicative_weights(EVEN, CYCLE, eta=0.1, steps=0)
    with pytest.raises(ConfigError, match="tau is -1"):
        games.nash(EVEN, CYCLE, -1)
