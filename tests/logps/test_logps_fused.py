"""Norms and gated products: the formulas, their gradients, what they keep, and which modules are taken over."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaConfig, LlamaMLP, LlamaRMSNorm

from logratio.logps import fused
from logratio.logps.fused import few_calls, fusions, rms_norm, silu_gated


def _plain_norm(x, weight, eps):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight


@pytest.mark.parametrize("shape", [(7,), (1, 5, 7), (2, 3, 4, 7)])
def test_norm_and_its_gradients_are_those_of_the_formula(shape):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(rms_norm(x, weight, 1e-3), _plain_norm(x, weight, 1e-3), rtol=0, atol=1e-14)
    assert torch.autograd.gradcheck(lambda a, b: rms_norm(a, b, 1e-3), (x, weight))


def test_gated_product_is_the_formulas_to_the_bit_and_its_gradients_agree():
    gate, up = (torch.randn(3, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.equal(silu_gated(gate, up), functional.silu(gate) * up)
    assert torch.autograd.gradcheck(silu_gated, (gate, up))


def test_rows_beyond_one_piece_of_the_backward_pass_are_not_lost(monkeypatch):
    monkeypatch.setattr(fused, "_ELEMENTS", 1 << 16)  # of 192,000
    x, weight = torch.randn(3000, 64, requires_grad=True), torch.randn(64, requires_grad=True)
    mine = torch.autograd.grad(rms_norm(x, weight, 1e-6).square().sum(), (x, weight))
    plain = torch.autograd.grad(_plain_norm(x, weight, 1e-6).square().sum(), (x, weight))
    for a, b in zip(mine, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    gate, up = (torch.randn(3000, 64, requires_grad=True) for _ in range(2))
    mine = torch.autograd.grad(silu_gated(gate, up).square().sum(), (gate, up))
    plain = torch.autograd.grad((functional.silu(gate) * up).square().sum(), (gate, up))
    for a, b in zip(mine, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_order_in_memory_does_not_matter():
    x = torch.randn(6, 4, dtype=torch.float64).t().requires_grad_()
    weight = torch.randn(6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: rms_norm(a, b, 1e-3), (x, weight))
    up = torch.randn(6, 4, dtype=torch.float64).t().requires_grad_()
    assert torch.autograd.gradcheck(silu_gated, (x, up))


def test_a_frozen_weight_gets_no_gradient():
    x, weight = torch.randn(4, 8, requires_grad=True), torch.ones(8)
    rms_norm(x, weight, 1e-6).sum().backward()
    assert weight.grad is None and x.grad is not None


def test_in_bfloat16_the_norm_is_rounded_where_the_library_rounds_it():
    norm = LlamaRMSNorm(64).to(torch.bfloat16)
    x = torch.randn(9, 64).to(torch.bfloat16)
    assert (rms_norm(x, norm.weight, norm.variance_epsilon) - norm(x)).abs().max() <= 2**-7


def _kept(compute, *inputs):
    """Bytes that a computation keeps for its backward pass, its inputs left out."""
    own = {tensor.data_ptr() for tensor in inputs}
    held = {}

    def pack(tensor):
        if tensor.data_ptr() not in own:
            held[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        compute()
    return sum(held.values())


def test_nothing_of_the_inputs_size_is_kept_beside_the_inputs():
    x, weight = torch.randn(256, 128, requires_grad=True), torch.randn(128, requires_grad=True)
    assert _kept(lambda: rms_norm(x, weight, 1e-6), x, weight) <= 256 * 4
    assert _kept(lambda: LlamaRMSNorm(128)(x), x, weight) >= x.nbytes
    up = torch.randn(256, 128, requires_grad=True)
    assert _kept(lambda: silu_gated(x, up), x, up) == 0
    assert _kept(lambda: functional.silu(x) * up, x, up) >= x.nbytes


class _Other(nn.Module):
    """Named like a norm, and another formula."""

    def __init__(self):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(8)), 1e-6

    def forward(self, x):
        return x * self.weight


class OtherRMSNorm(_Other):
    pass


@pytest.mark.parametrize("act", ["gelu", "gelu_pytorch_tanh", "relu", "quick_gelu"])
@pytest.mark.parametrize("spread", [0.02, 0.2, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_activation_that_is_nearly_silu_is_not_taken_for_it_however_narrow_the_numbers(act, spread, dtype):
    for seed in range(4):
        torch.manual_seed(seed)
        silu, other = (
            LlamaMLP(LlamaConfig(hidden_size=64, num_attention_heads=1, intermediate_size=96, hidden_act=name))
            for name in ("silu", act)
        )
        for module in (silu, other):
            for weight in module.parameters():
                nn.init.normal_(weight, std=spread)
            module.to(dtype)
        assert (len(fusions(silu)), len(fusions(other))) == (1, 0)


def test_only_modules_that_compute_the_same_are_taken_over_and_they_can_be_given_back():
    config = LlamaConfig(hidden_size=8, num_attention_heads=1, intermediate_size=12)
    config_gelu = LlamaConfig(hidden_size=8, num_attention_heads=1, intermediate_size=12, hidden_act="gelu")
    for modules, taken in (
        ([LlamaRMSNorm(8), LlamaMLP(config)], 2),
        ([GemmaRMSNorm(8)], 0),
        ([OtherRMSNorm()], 0),
        ([LlamaMLP(config_gelu)], 0),
    ):
        model = nn.Sequential(*modules)
        with torch.no_grad():
            for weight in model.parameters():
                weight.normal_()
        found = fusions(model)
        assert len(found) == taken
        for fusion in found:
            x = torch.randn(1, 3, 8)
            own = fusion.module(x)
            fusion.set(True)
            assert "forward" in fusion.module.__dict__
            torch.testing.assert_close(fusion.module(x), own)
            fusion.set(False)
            assert "forward" not in fusion.module.__dict__


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fused", [False, True])
def test_in_few_calls_norms_are_the_modules_own_and_another_formula_stays(dtype, fused):
    model = nn.Sequential(
        LlamaRMSNorm(8),
        GemmaRMSNorm(8),
        LlamaMLP(LlamaConfig(hidden_size=8, intermediate_size=12, num_attention_heads=2)),
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(1.0, 0.3, generator=torch.Generator().manual_seed(3))
    model.to(dtype)
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    own = [module(x) for module in model]
    for fusion in fusions(model) if fused else ():
        fusion.set(True)
    with torch.no_grad(), few_calls(model):
        assert ["forward" in module.__dict__ for module in model] == [dtype == torch.float32, False, False]
        for module, expected in zip(model, own, strict=True):
            assert torch.equal(module(x), expected)
    assert ["forward" in module.__dict__ for module in model] == [fused, False, fused]


def test_a_norm_that_fails_when_it_is_tried_leaves_every_fusion_where_it_was():
    class FailingRMSNorm(LlamaRMSNorm):
        def forward(self, x):
            raise RuntimeError("weights are elsewhere")

    model = nn.Sequential(LlamaRMSNorm(8), LlamaRMSNorm(8))
    for fusion in fusions(model):
        fusion.set(True)
    before = [module.forward for module in model]
    model.append(FailingRMSNorm(8))
    with pytest.raises(RuntimeError, match="elsewhere"), few_calls(model):
        pass
    assert [module.__dict__.get("forward") for module in model] == [*before, None]
