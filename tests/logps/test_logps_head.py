"""The fused head against `torch.log_softmax`: values, gradients, memory."""

import itertools
import math
import weakref

import pytest
import torch

import logratio.logps.head as module
from logratio.logps.head import head

R, D, V = 1100, 6, 11  # more rows than two chunks
KEPT = {"all chunks": 1 << 25, "the last two of three": 800 * V * 8, "the last one": 400 * V * 8}  # bytes of float64


def inputs(dtype=torch.float64, rows=R, vocabulary=V, width=D, bias=True):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    target_R = torch.randint(vocabulary, (rows,), generator=generator)
    return draw(rows, width), draw(vocabulary, width), draw(vocabulary) if bias else None, target_R


def readable(h_RD, W_VD, bias_V, target_R, *, scale=1.0, softcap=None, temperature=1.0):
    logits_RV = h_RD @ W_VD.T + (0 if bias_V is None else bias_V)
    logits_RV = logits_RV * scale
    if softcap is not None:
        logits_RV = softcap * torch.tanh(logits_RV / softcap)
    return torch.log_softmax(logits_RV / temperature, -1)


SHAPES = [
    dict(),
    dict(scale=0.3),
    dict(softcap=2.0),
    dict(temperature=0.7),
    dict(scale=1.7, softcap=3.0, temperature=2),
]


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("wanted", list(itertools.product((True, False), repeat=3)), ids=str)
def test_equals_log_softmax_in_values_and_in_the_gradients_that_are_wanted(shape, wanted, kept, monkeypatch):
    monkeypatch.setattr(module, "_KEPT", KEPT[kept])
    h_RD, W_VD, bias_V, target_R = inputs()
    weights_R = torch.linspace(-1, 2, R, dtype=torch.float64)
    found = []
    for fused in (True, False):
        leaves = [x.clone().requires_grad_(want) for x, want in zip((h_RD, W_VD, bias_V), wanted, strict=True)]
        if fused:
            logp_R, extras = head(*leaves, target_R, **shape, extras=("entropy", "square"))
            entropy_R, square_R = extras["entropy"], extras["square"]
            assert not entropy_R.requires_grad and not square_R.requires_grad
        else:
            logp_RV = readable(*leaves, target_R, **shape)
            logp_R = logp_RV.gather(1, target_R[:, None]).squeeze(1)
            entropy_R = -(logp_RV.exp() * logp_RV).sum(1).detach()
            square_R = logp_RV.exp().square().sum(1).detach()
        if any(wanted):
            (logp_R * weights_R).sum().backward()
        found.append([logp_R.detach(), entropy_R, square_R, *(x.grad for x in leaves)])
    for fused, plain in zip(*found, strict=True):
        assert (fused is None) == (plain is None)
        if fused is not None:
            torch.testing.assert_close(fused, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", [800, 400, 0])
def test_in_bfloat16_what_is_recomputed_is_what_was_kept(rows, monkeypatch):
    """Added up in parts, ∂W is rounded at each of them: the parts are of 367 rows, and cancel to a tenth or so."""
    found = []
    for most in (KEPT["all chunks"], rows * V * 2):
        monkeypatch.setattr(module, "_KEPT", most)
        h_RD, W_VD, bias_V, target_R = (x if x.dtype == torch.int64 else x.bfloat16() for x in inputs())
        leaves = [x.requires_grad_() for x in (h_RD, W_VD, bias_V)]
        logp_R, _ = head(*leaves, target_R)
        (logp_R * torch.linspace(-1, 2, R)).sum().backward()
        found.append([logp_R.detach(), *(x.grad for x in leaves)])
    for name, partly, whole in zip(("logp", "dh", "dW", "dbias"), *found, strict=True):
        slack = 2**-7 * float(whole.abs().max()) if name in ("dW", "dbias") else 1e-6
        torch.testing.assert_close(partly, whole, rtol=0, atol=slack, msg=lambda text, name=name: f"{name}: {text}")


def test_what_is_kept_is_no_more_than_the_heads_own_gradient_and_nothing_where_none_is_wanted(monkeypatch):
    monkeypatch.setattr(module, "_KEPT", 0)
    made = []

    class Seen(module.Logits):
        def __init__(self, *given, **named):
            super().__init__(*given, **named)
            made.append((self.buffers, len(self.chunks)))

    monkeypatch.setattr(module, "Logits", Seen)
    for width, learns in ((800, True), (2000, True), (2000, False)):
        h_RD, W_VD, _, target_R = inputs(torch.float32, width=width)
        with torch.set_grad_enabled(learns):
            head(h_RD, W_VD.requires_grad_(), None, target_R)
    assert made == [(2, 3), (3, 3), (1, 3)]  # in float32 800 rows hold two chunks of 367, 2,000 all


@pytest.mark.parametrize("frozen", [False, True])
def test_gradcheck(frozen):
    h_RD, W_VD, bias_V, target_R = inputs(rows=5)
    h_RD.requires_grad_()
    W_VD.requires_grad_(not frozen)
    bias_V.requires_grad_(not frozen)
    assert torch.autograd.gradcheck(
        lambda *x: head(*x, target_R, scale=1.3, softcap=2.5, temperature=0.8)[0], (h_RD, W_VD, bias_V)
    )


def test_uniform_logits_give_minus_log_v_entropy_log_v_and_square_one_over_v():
    logp_R, extras = head(
        torch.zeros(3, D), torch.ones(V, D), None, torch.tensor([0, 4, 10]), extras=("entropy", "square")
    )
    torch.testing.assert_close(logp_R, torch.full((3,), -math.log(V)))
    torch.testing.assert_close(extras["entropy"], torch.full((3,), math.log(V)))
    torch.testing.assert_close(extras["square"], torch.full((3,), 1 / V))


def test_no_rows_give_no_log_probs_and_zero_gradients():
    _, W_VD, bias_V, _ = inputs()
    h_RD, target_R = torch.zeros(0, D, dtype=torch.float64, requires_grad=True), torch.zeros(0, dtype=torch.int64)
    W_VD.requires_grad_()
    logp_R, _ = head(h_RD, W_VD, bias_V, target_R)
    logp_R.sum().backward()
    assert logp_R.shape == (0,) and h_RD.grad.shape == (0, D) and not W_VD.grad.any()


def test_bfloat16_products_are_normalised_and_accumulated_in_float32():
    """Half the vocabulary at one logit: a bfloat16 sum of 4,096 ones would stop at 256."""
    vocabulary, rows = 4096, 700
    h_RD = torch.ones(rows, 2, dtype=torch.bfloat16, requires_grad=True)
    W_VD = torch.zeros(vocabulary, 2, dtype=torch.bfloat16, requires_grad=True)
    target_R = torch.zeros(rows, dtype=torch.int64)
    logp_R, _ = head(h_RD, W_VD, None, target_R)
    assert logp_R.dtype == torch.float32
    torch.testing.assert_close(logp_R, torch.full((rows,), -math.log(vocabulary)), rtol=1e-6, atol=0)
    logp_R.sum().backward()
    expected = rows * (1 - 1 / vocabulary)
    assert W_VD.grad.dtype == torch.bfloat16
    assert abs(float(W_VD.grad[0, 0]) - expected) < expected * 2**-7


def test_extreme_logits_stay_finite():
    h_RD, W_VD, _, target_R = inputs(torch.float32, rows=8)
    h_RD.requires_grad_()
    logp_R, extras = head(1e4 * h_RD, W_VD, None, target_R, extras=("entropy", "square"))
    logp_R.sum().backward()
    for value in (logp_R, h_RD.grad, *extras.values()):
        assert value.isfinite().all()


@pytest.mark.parametrize("frozen", [False, True])
def test_the_full_logits_never_exist(frozen, monkeypatch):
    """The largest tensor of any operator has far fewer elements than R · V."""
    monkeypatch.setattr(module, "_KEPT", 1 << 20)
    from torch.utils._python_dispatch import TorchDispatchMode

    rows, vocabulary, width = 4096, 2048, 8
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            outputs = result if isinstance(result, (tuple, list)) else (result,)
            largest = max(largest, *(x.numel() for x in outputs if isinstance(x, torch.Tensor)), 0)
            return result

    h_RD, W_VD, _, target_R = inputs(torch.float32, rows, vocabulary, width, bias=False)
    h_RD.requires_grad_()
    W_VD.requires_grad_(not frozen)
    with Watch():
        head(h_RD, W_VD, None, target_R)[0].sum().backward()
    assert largest <= rows * vocabulary // 8


def test_a_frozen_head_multiplies_no_weights_in_the_backward_pass():
    from torch.utils._python_dispatch import TorchDispatchMode

    called = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            called.append(str(function))
            return function(*args, **(kwargs or {}))

    h_RD, W_VD, _, target_R = inputs(bias=False)
    logp_R, _ = head(h_RD.requires_grad_(), W_VD, None, target_R)
    with Watch():
        logp_R.sum().backward()
    assert called and not any("mm" in name for name in called)


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_kept_logits_are_multiplied_out_once_and_a_second_backward_pass_gives_the_same(softcap):
    """Three products where nothing is recomputed: forward, ∂h and ∂W; the second pass needs the forward's again."""
    from torch.utils._python_dispatch import TorchDispatchMode

    products = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal products
            products += "mm" in str(function)
            return function(*args, **(kwargs or {}))

    h_RD, W_VD, _, target_R = inputs(rows=300, bias=False)
    leaves = h_RD.requires_grad_(), W_VD.requires_grad_()
    with Watch():
        logp_R, _ = head(*leaves, None, target_R, softcap=softcap)
        first = torch.autograd.grad(logp_R.sum(), leaves, retain_graph=True)
    assert products == 3
    with Watch():
        second = torch.autograd.grad(logp_R.sum(), leaves)
    assert products == 6
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize(("dtype", "bytes_each"), [(torch.float32, 4), (torch.bfloat16, 6)])
def test_a_weights_gradient_in_parts_holds_no_more_than_the_sum_and_one_part(dtype, bytes_each):
    """4 and 6 bytes a number, as `held_bytes` has it: a sum in float32 and, of narrower numbers, a product beside."""
    from torch.utils._python_dispatch import TorchDispatchMode

    rows, vocabulary, width = 4, 500, 300
    made = []
    most = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal most
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                made.append(weakref.ref(result))
            alive = [x.untyped_storage() for reference in made if (x := reference()) is not None]
            held = {storage.data_ptr(): storage.nbytes() for storage in alive}
            most = max(most, sum(size for size in held.values() if size >= vocabulary * width))
            return result

    sums = module.Weights(torch.zeros(vocabulary, width, dtype=dtype))
    parts = [torch.randn(rows, vocabulary).to(dtype) for _ in range(3)]
    h_CD = torch.ones(rows, width, dtype=dtype)
    with Watch():
        for part in parts:
            sums.add(part, h_CD)
    assert most == bytes_each * vocabulary * width
    expected = sum(part.double().sum(0) for part in parts)
    torch.testing.assert_close(sums.total()[:, 0].double(), expected, rtol=2**-7, atol=2**-4)
