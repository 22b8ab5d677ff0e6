"""KL(π_ref ‖ π) from hidden states against two full log-softmax tables: values, gradients, memory."""

import itertools

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from logratio.logps.divergence import Outputs, divergence
from logratio.logps.head import Shape

R, D, V = 1100, 6, 11  # more rows than two chunks
SHAPES = [Shape(1.0, None, 1.0), Shape(0.3, None, 0.7), Shape(1.7, 3.0, 2.0)]


def outputs(seed, shape, rows=R, vocabulary=V, width=D, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    parts = [torch.randn(*size, generator=draw, dtype=torch.float64) for size in ((rows, width), (vocabulary, width))]
    bias_V = torch.randn(vocabulary, generator=draw, dtype=torch.float64)
    return Outputs(parts[0].to(dtype), parts[1].to(dtype), bias_V.to(dtype), shape)


def table(of):
    logits_RV = (of.h_RD @ of.W_VD.T + of.bias_V) * of.shape.scale
    if of.shape.softcap is not None:
        logits_RV = of.shape.softcap * torch.tanh(logits_RV / of.shape.softcap)
    return torch.log_softmax(logits_RV / of.shape.temperature, -1)


def written_out(reference, policy):
    reference_RV, logp_RV = table(reference), table(policy)
    return (reference_RV.exp() * (reference_RV - logp_RV)).sum(1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("wanted", [*itertools.product((True, False), repeat=3)][:-1], ids=str)
def test_it_equals_two_full_tables_in_values_and_in_the_gradients_that_are_wanted(shape, wanted):
    reference, policy = outputs(1, Shape(0.8, None, 1.0), width=4), outputs(2, shape)
    weights_R = torch.linspace(-1, 2, R, dtype=torch.float64)
    found = []
    for function in (divergence, written_out):
        leaves = [
            value.clone().requires_grad_(want)
            for value, want in zip((policy.h_RD, policy.W_VD, policy.bias_V), wanted, strict=True)
        ]
        apart_R = function(reference, Outputs(*leaves, shape))
        (apart_R * weights_R).sum().backward()
        found.append([apart_R.detach(), *(leaf.grad for leaf in leaves)])
    assert found[0][0].min() > 0
    for ours, plain in zip(*found, strict=True):
        assert (ours is None) == (plain is None)
        if ours is not None:
            torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)


def test_against_itself_it_is_zero_with_zero_gradient():
    policy = outputs(3, SHAPES[2])
    h_RD = policy.h_RD.clone().requires_grad_()
    apart_R = divergence(policy, Outputs(h_RD, policy.W_VD, policy.bias_V, policy.shape))
    apart_R.sum().backward()
    assert apart_R.abs().max() < 1e-14 and h_RD.grad.abs().max() < 1e-14


def test_no_rows_give_no_divergence_and_zero_gradients():
    policy = outputs(3, SHAPES[0], rows=0)
    W_VD = policy.W_VD.clone().requires_grad_()
    apart_R = divergence(policy, Outputs(policy.h_RD, W_VD, policy.bias_V, policy.shape))
    apart_R.sum().backward()
    assert apart_R.shape == (0,) and not W_VD.grad.any()


def test_bfloat16_products_are_normalised_in_float32():
    reference, policy = (outputs(seed, SHAPES[0], rows=64, dtype=torch.bfloat16) for seed in (1, 2))
    apart_R = divergence(reference, policy)
    wide = [Outputs(o.h_RD.float(), o.W_VD.float(), o.bias_V.float(), o.shape) for o in (reference, policy)]
    assert apart_R.dtype == torch.float32
    torch.testing.assert_close(apart_R, written_out(*wide), rtol=0.05, atol=0.05)


def test_the_full_logits_of_neither_model_ever_exist():
    rows, vocabulary = 4096, 2048
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            outputs = result if isinstance(result, (tuple, list)) else (result,)
            largest = max(largest, *(x.numel() for x in outputs if isinstance(x, torch.Tensor)), 0)
            return result

    reference, policy = (outputs(seed, SHAPES[0], rows, vocabulary, 8, torch.float32) for seed in (1, 2))
    leaves = [value.requires_grad_() for value in (policy.h_RD, policy.W_VD, policy.bias_V)]
    with Watch():
        divergence(reference, Outputs(*leaves, policy.shape)).sum().backward()
    assert largest <= rows * vocabulary // 8
