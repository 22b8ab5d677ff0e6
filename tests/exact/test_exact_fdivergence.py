import pytest
import torch

from logratio.errors import ConfigError
from logratio.exact import fdivergence, gibbs
from logratio.exact.optimum import minimise
from logratio.exact.world import build, policy, random_world

LINKS = {
    "reverse_kl": fdivergence.link("reverse_kl"),
    "forward_kl": fdivergence.link("forward_kl"),
    "jensen_shannon": fdivergence.link("jensen_shannon"),
    "chi_mixture": fdivergence.link("chi_mixture"),
    "alpha 0.3": fdivergence.link("alpha", alpha=0.3),
    "alpha 0.8": fdivergence.link("alpha", alpha=0.8),
}
WORLD = random_world(5, prompts=3, responses=5)
A = torch.linspace(-8, 3, 45, dtype=torch.float64)


@pytest.fixture(params=LINKS)
def link(request):
    return LINKS[request.param]


def test_slope_is_the_derivative_of_f_up_to_a_constant_and_inverse_undoes_it(link):
    """d f(e^a)/da = f'(e^a)·e^a."""
    a = A.clone().requires_grad_()
    (by_a,) = torch.autograd.grad(link.divergence(a).sum(), a)
    offset = by_a / A.exp() - link.slope(A)
    assert torch.allclose(offset, offset[-1].expand_as(A), rtol=0, atol=1e-10)
    assert torch.allclose(link.inverse(link.slope(A)), A, rtol=0, atol=1e-12)
    assert abs(link.divergence(torch.zeros((), dtype=torch.float64)).item()) < 1e-15


@pytest.mark.parametrize("beta", [0.05, 1.0])
def test_the_optimum_is_a_distribution_whose_slopes_are_the_rewards_up_to_a_constant(link, beta):
    best = fdivergence.optimum(WORLD, beta, link)
    assert torch.allclose(best.exp().sum(-1), torch.ones(3).double(), rtol=0, atol=1e-12)
    implied = beta * link.slope(best - WORLD.reference_XY) - WORLD.reward_XY
    spread = implied - implied.mean(-1, keepdim=True)
    assert (spread.abs() <= 1e-11 * implied.abs().amax().clamp(min=1)).all()


def test_the_optimum_agrees_with_direct_maximisation(link):
    def loss(logits_XY):
        at = policy(logits_XY)
        return -WORLD.average(
            gibbs.expected_reward(WORLD, at) - 0.5 * fdivergence.divergence(at, WORLD.reference_XY, link)
        )

    found = minimise(loss, WORLD.reference_XY)
    assert found.kind == "finite"
    assert torch.allclose(found.policy_XY, fdivergence.optimum(WORLD, 0.5, link), rtol=0, atol=1e-10)


def test_reverse_kl_is_the_gibbs_optimum_and_alpha_goes_to_its_two_ends():
    assert torch.allclose(
        fdivergence.optimum(WORLD, 0.2, LINKS["reverse_kl"]), gibbs.optimum(WORLD, 0.2), rtol=0, atol=1e-12
    )
    for alpha, name in ((1e-5, "reverse_kl"), (1 - 1e-7, "forward_kl")):
        near = fdivergence.optimum(WORLD, 1.0, fdivergence.link("alpha", alpha=alpha))
        assert torch.allclose(near, fdivergence.optimum(WORLD, 1.0, LINKS[name]), rtol=0, atol=1e-3)


def test_an_all_but_impossible_best_response_keeps_its_digits_near_the_pole():
    world = build(torch.tensor([[5.0, 0.0, -1.0]]), reference_XY=torch.tensor([[-40.0, 0.0, 0.5]]))
    for link in (LINKS["forward_kl"], LINKS["alpha 0.8"], LINKS["jensen_shannon"]):
        best = fdivergence.optimum(world, 0.1, link)
        assert best.exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_divergences_are_above_zero_away_from_the_reference(link):
    assert (fdivergence.divergence(gibbs.optimum(WORLD, 0.5), WORLD.reference_XY, link) > 0).all()
    assert fdivergence.divergence(WORLD.reference_XY, WORLD.reference_XY, link).abs().max() < 1e-14


def test_unknown_names_and_misplaced_alphas_are_refused():
    with pytest.raises(ConfigError, match='did you mean "reverse_kl"'):
        fdivergence.link("reverse")
    with pytest.raises(ConfigError, match="0 < α < 1"):
        fdivergence.link("alpha", alpha=1.0)
    for name, alpha in (("alpha", None), ("forward_kl", 0.5)):
        with pytest.raises(ConfigError, match='goes with "alpha", and only with it'):
            fdivergence.link(name, alpha=alpha)
