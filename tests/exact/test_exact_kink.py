import pytest
import torch

from logratio.exact.kink import descend, settle


def evaluating(function):
    def evaluate(z):
        leaf = z.detach().requires_grad_()
        value = function(leaf)
        return float(value.detach()), torch.autograd.grad(value, leaf)[0]

    return evaluate


def start(*values):
    return torch.tensor(values, dtype=torch.float64)


def ridge(z):
    """|z₀ − z₁²| + (1 − z₁)²: a curved kink with its bottom at (1, 1)."""
    return (z[0] - z[1] ** 2).abs() + (1 - z[1]) ** 2


def bowl(z):
    return (z * z * torch.tensor([1.0, 100.0], dtype=torch.float64)).sum() + 1


@pytest.mark.parametrize("at", [(-1.2, 1.0), (3.0, -2.0)])
def test_descent_follows_a_curved_kink_to_its_bottom(at):
    found, _ = descend(evaluating(ridge), start(*at))
    assert torch.allclose(found, start(1.0, 1.0), rtol=0, atol=1e-5)


def test_descent_on_a_smooth_bowl_is_exact():
    found, taken = descend(evaluating(bowl), start(3.0, -1.0))
    assert found.abs().max() < 1e-7 and taken < 60


def test_settling_tells_the_bottom_of_a_kink_from_a_smooth_minimum_and_from_one_that_is_not_reached():
    # from (0, 0), on the ridge, where one gradient leads along neither side
    at, _, kink = settle(evaluating(ridge), start(0.0, 0.0))
    assert kink and torch.allclose(at, start(1.0, 1.0), rtol=0, atol=1e-5)
    assert not settle(evaluating(lambda z: (z - 0.3).cosh().sum() + z[0]), start(1.0, 2.0))[2]
    assert not settle(evaluating(lambda z: (z[0] - z[1]).abs() - z[0]), start(0.0, 0.0))[2]
