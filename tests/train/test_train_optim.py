import math

import pytest
import torch
from torch import nn

from logratio.train.optim import Optimizer, round_stochastically


def optimizer(named, **changes):
    return Optimizer(named, **{"kind": "adamw", "weight_decay": 0.0, "stochastic": False, "seed": 0, **changes})


def test_stochastic_rounding_is_unbiased_and_exact_where_it_can_be():
    exact = torch.tensor([1.0, -2.5, 0.0, 3.140625])
    assert torch.equal(round_stochastically(exact, 1).float(), exact)
    low, step = 1.0, 2.0**-7  # neighbours in bfloat16 above 1
    value = torch.full((40_000,), low + 0.3 * step)
    rounded = round_stochastically(value, 7).float()
    up = (rounded == low + step).double().mean().item()
    assert set(rounded.tolist()) == {low, low + step}
    assert abs(up - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 40_000)
    assert torch.equal(rounded, round_stochastically(value, 7).float())
    assert torch.allclose(round_stochastically(-value, 7).float(), -rounded)


def test_adamw_and_rmsprop_first_steps_by_hand():
    weight = nn.Parameter(torch.tensor([1.0, -1.0]))
    opt = optimizer({"w": weight}, weight_decay=0.1)
    weight.grad = torch.tensor([3.0, -0.2])
    opt.step(0.01, 0)
    # decoupled decay, then lr·sign(g): the first step's m̂/√v̂ is ±1
    assert torch.allclose(weight, torch.tensor([1.0 - 0.001 - 0.01, -1.0 + 0.001 + 0.01]), atol=1e-6)
    weight = nn.Parameter(torch.tensor([1.0]))
    opt = optimizer({"w": weight}, kind="rmsprop")
    weight.grad = torch.tensor([0.5])
    opt.step(0.01, 0)
    assert torch.allclose(weight, torch.tensor([1.0 - 0.01 / math.sqrt(1 - 0.99)]), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "second"),
    [("adamw", 1.0), pytest.param("adamw_8bit", 1.0, marks=pytest.mark.slow), ("rmsprop", 1 - 0.99)],
)
def test_epsilon_stands_beside_the_root_of_the_second_moment(kind, second):
    """The first step is lr·g / (|g|·√second + ε): RMSprop does not correct the second moment for its beginning."""
    gradient = torch.tensor([1e-3, -2e-5, 4e-7]).repeat(2048)  # 8-bit moments are for tensors of 4,096 elements or more
    for epsilon in (1e-8, 1e-5):
        weight = nn.Parameter(torch.zeros_like(gradient))
        opt = optimizer({"w": weight}, kind=kind, epsilon=epsilon)
        weight.grad = gradient.clone()
        opt.step(0.01, 0)
        expected = -0.01 * gradient / (gradient.abs() * math.sqrt(second) + epsilon)
        assert torch.allclose(weight, expected, rtol=1e-4 if kind != "adamw_8bit" else 0.2, atol=0)


def test_clipping_scales_to_the_norm_and_reports_the_one_before():
    a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    opt = optimizer({"a": a, "b": b})
    a.grad, b.grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert opt.clip(1.0) == pytest.approx(5.0)
    assert torch.allclose(a.grad, torch.tensor([0.6, 0.0])) and torch.allclose(b.grad, torch.tensor([0.8]))
    assert opt.clip(1.0) == pytest.approx(1.0)
    assert torch.allclose(b.grad, torch.tensor([0.8]))


def test_a_narrow_weights_gradient_is_that_of_its_own_step_wherever_it_lies():
    """Two bins a step, in memory that stays: of what a step added up, the next one finds nothing."""
    weight = nn.Parameter(torch.zeros(3))
    opt = optimizer({"w": weight}, compute=torch.bfloat16)
    (slot,) = opt.slots
    places = set()
    for step, bins in enumerate(([1.0, 2.0**-10], [3.0], [4.0, 5.0])):
        assert slot.gradient is None
        for value in bins:
            (weight.float() * value).sum().backward()
        assert weight.grad is None and torch.equal(slot.gradient, torch.full((3,), sum(bins)))
        places.add(slot.gradient.data_ptr())
        opt.step(0.0, step)
    assert len(places) == 1
    opt.release()
    assert slot.summed is None and slot.gradient is None


def _train(dtype, steps, stochastic=False, naive=False):
    """Linear regression; returns the weight change after `steps` at lr 5e-7 and the mean share rounded away."""
    torch.manual_seed(0)
    start = torch.randn(64, 32)
    x, y = torch.randn(16, 32), torch.randn(16, 64)
    weight = nn.Parameter(start.to(dtype).clone())
    opt = optimizer({"w": weight}, stochastic=stochastic)
    plain = torch.optim.AdamW([weight], lr=5e-7, weight_decay=0.0)
    lost = total = 0.0
    for index in range(steps):
        loss = ((x.to(dtype) @ weight.T).float() - y).square().mean()
        loss.backward()
        if naive:
            plain.step()
            plain.zero_grad()
        else:
            same, moved = opt.step(5e-7, index)
            lost, total = lost + same.item(), total + moved.item()
    kept = weight if naive else opt.kept(opt.slots[0])
    return (kept.detach().double() - start.to(dtype).double()), lost / max(total, 1)


def test_200_steps_at_5e_7_in_bf16_land_where_fp32_lands_and_naive_bf16_does_not():
    exact, none_lost = _train(torch.float32, 200)
    master, master_lost = _train(torch.bfloat16, 200)
    naive, _ = _train(torch.bfloat16, 200, naive=True)

    def off(change):
        return ((change - exact).norm() / exact.norm()).item()

    assert off(master) < 0.10
    assert off(naive) > 0.5
    assert none_lost < 0.05 and master_lost < 0.05


def test_stochastic_rounding_moves_by_the_right_amount_on_average_and_says_how_often_nothing_moved():
    exact, _ = _train(torch.float32, 200)
    rounded, lost = _train(torch.bfloat16, 200, stochastic=True)
    agree = (rounded * exact.sign()).mean() / exact.abs().mean()  # projection on the true direction
    assert 0.7 < agree < 1.3
    assert lost > 0.9  # at 5e-7 nearly every single update is below half a unit in the last place


@pytest.mark.parametrize("dtype,stochastic", [(torch.float32, False), (torch.bfloat16, False), (torch.bfloat16, True)])
@pytest.mark.parametrize("kind", ["adamw", "rmsprop", "adamw_8bit"])
def test_a_restored_optimizer_continues_bitwise(kind, dtype, stochastic):
    """With enough elements that adamw_8bit keeps 8 bits of each moment; its count of steps is a plain number."""
    if kind == "adamw_8bit":
        pytest.importorskip("bitsandbytes", reason="the extra `8bit` is not installed")

    def fresh():
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(80, 64).to(dtype))
        return weight, optimizer({"w": weight}, kind=kind, stochastic=stochastic)

    def run(weight, opt, start, stop):
        for index in range(start, stop):
            torch.manual_seed(index)
            (weight.float() * torch.randn(80, 64)).sum().backward()
            opt.step(1e-3, index)

    weight, opt = fresh()
    run(weight, opt, 0, 3)
    saved = {name: tensor.clone() for name, tensor in opt.state().items()}
    run(weight, opt, 3, 6)
    other, resumed = fresh()
    resumed.load(saved)
    run(other, resumed, 3, 6)
    assert torch.equal(weight, other)
    assert all(torch.equal(resumed.state()[name], tensor) for name, tensor in opt.state().items())


def test_eight_bit_moments_stay_near_the_exact_ones():
    pytest.importorskip("bitsandbytes", reason="the extra `8bit` is not installed")
    torch.manual_seed(0)
    start = torch.randn(256, 256)
    ends = []
    for kind in ("adamw", "adamw_8bit"):
        weight = nn.Parameter(start.clone())
        opt = optimizer({"w": weight}, kind=kind)
        for index in range(20):
            torch.manual_seed(index)
            (weight * (torch.randn(256, 256) + 1)).sum().backward()
            opt.step(1e-3, index)
        ends.append(weight.detach() - start)
        assert all(v.dtype == torch.uint8 for k, v in opt.state().items() if k.startswith("state") and "8bit" in kind)
    assert (ends[0] - ends[1]).norm() / ends[0].norm() < 0.05
