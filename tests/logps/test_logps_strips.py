"""Attention in strips against one masked softmax over the whole packed row."""

import numpy as np
import pytest
import torch
from zoo import group

from logratio.batch.packed import pack
from logratio.logps import strips
from logratio.logps.attention import Layout
from logratio.logps.strips import in_strips

SHAPES = {
    "small": [(n % 7 + 1, [n % 5 + 2, n % 11 + 1]) for n in range(24)],
    "cut in the prompt": [(450, [90, 70]), (250, [40])],
    "cut in responses": [(30, [90, 70, 100, 80, 60]), (80, [300])],
    "mixed": [(9, [4, 100]), (120, [3]), (9, [6, 6, 1, 2]), (0, [5, 180, 30]), (9, [4, 1])],
    "no prompts": [(0, [3]), (0, [70, 2]), (0, [120, 110, 70])],
    "one response": [(n % 7 + 1, [n % 11 + 1]) for n in range(12)] + [(90, [240]), (5, [2, 3])],
    "weights made twice": [(590, [40, 30]), (400, [60, 70, 200, 3])],
    "empty": [(5, [0, 3, 0]), (3, []), (0, [0, 4]), (300, [0, 0, 200])],
}
WINDOWS = [None, 40]


def layout(name):
    rng = np.random.default_rng(0)
    return Layout.of(pack([group(rng, prompt, lengths) for prompt, lengths in SHAPES[name]]))


def seen(name, window=None):
    """A token sees its own group's prompt and its own response, up to itself and not beyond a window."""
    rows = [
        (g, r, at + before)
        for g, (prompt, lengths) in enumerate(SHAPES[name])
        for r, (length, before) in enumerate([(prompt, 0), *((length, prompt) for length in lengths)])
        for at in range(length)
    ]
    group, own, position = (torch.tensor(column) for column in zip(*rows, strict=True))
    mine = (group[:, None] == group) & ((own[:, None] == own) | (own == 0))
    back = position[:, None] - position
    return mine & (back >= 0) & (back < (window or len(rows)))


def dense(query, key, value, name, scale, window=None):
    scores = (query @ key.transpose(2, 3) * scale).masked_fill(~seen(name, window), -torch.inf)
    return torch.softmax(scores, -1) @ value


def run(function, packed, dtype):
    generator = torch.Generator().manual_seed(0)
    tokens = len(packed.sight.position_T)
    drawn = [torch.randn(1, tokens, 3, 8, generator=generator, dtype=torch.float64) for _ in range(4)]
    *leaves, upstream = (x.to(dtype).transpose(1, 2).requires_grad_() for x in drawn)
    output = function(*leaves, packed)
    output.backward(upstream.detach())
    return [output.detach(), *(leaf.grad for leaf in leaves)]


def distance(found, expected):
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", SHAPES)
def test_strips_equal_one_masked_softmax_in_values_and_gradients(name, window):
    packed = layout(name)
    cut = run(lambda q, k, v, p: in_strips(q, k, v, p.strips(window), 0.3), packed, torch.float64)
    whole = run(lambda q, k, v, _: dense(q, k, v, name, 0.3, window), packed, torch.float64)
    for found, expected in zip(cut, whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["small", "mixed"])
def test_nothing_overflows_however_large_the_scores(name):
    packed = layout(name)
    cut = run(lambda q, k, v, p: in_strips(q, k, v, p.strips(None), 90.0), packed, torch.float32)
    whole = run(lambda q, k, v, _: dense(q, k, v, name, 90.0), packed, torch.float64)
    for found, expected in zip(cut, whole, strict=True):
        assert found.isfinite().all()
        assert distance(found, expected) < 1e-3


def test_strips_in_bfloat16_are_near_the_exact_ones():
    packed = layout("mixed")
    half = run(lambda q, k, v, p: in_strips(q, k, v, p.strips(None), 0.3), packed, torch.bfloat16)
    exact = run(lambda q, k, v, p: in_strips(q, k, v, p.strips(None), 0.3), packed, torch.float64)
    for found, expected in zip(half, exact, strict=True):
        assert found.dtype == torch.bfloat16
        assert distance(found, expected) < 0.01


def test_values_may_have_another_width_than_queries():
    packed = layout("mixed")
    tokens = len(packed.sight.position_T)
    generator = torch.Generator().manual_seed(2)
    drawn = [torch.randn(1, 3, tokens, D, generator=generator, dtype=torch.float64) for D in (8, 8, 5, 5)]
    found = []
    for attend in (lambda q, k, v: in_strips(q, k, v, packed.strips(None), 0.3), lambda *x: dense(*x, "mixed", 0.3)):
        *leaves, upstream = (x.clone().requires_grad_() for x in drawn)
        output = attend(*leaves)
        output.backward(upstream.detach())
        found.append([output.detach(), *(leaf.grad for leaf in leaves)])
    for cut, whole in zip(*found, strict=True):
        torch.testing.assert_close(cut, whole, rtol=1e-12, atol=1e-12)


def test_large_scores_keep_their_differences_in_bfloat16():
    """Scores around 300 would be rounded to whole steps of 2 in bfloat16; they are float32."""
    packed = layout("mixed")
    tokens = len(packed.sight.position_T)
    generator = torch.Generator().manual_seed(1)
    query, key, value = (torch.randn(1, 3, tokens, 8, generator=generator).bfloat16() for _ in range(3))
    query[..., 0], key[..., 0] = 16.0, 64.0  # adds 307 to every score, which softmax does not see
    half = in_strips(query, key, value, packed.strips(None), 0.3)
    exact = dense(query.double(), key.double(), value.double(), "mixed", 0.3)
    assert distance(half, exact) < 0.01


def test_the_shapes_cover_every_way_of_cutting():
    cuts = {name: layout(name).strips(None) for name in SHAPES}
    stretches = {name: {len(strip.stretches) for strip in found} for name, found in cuts.items()}
    assert stretches["cut in responses"] == {1, 2} and stretches["cut in the prompt"] == {1}
    assert len(cuts["small"]) < len(SHAPES["small"]) / 3
    widths = {name: {strip.keys(torch.zeros(1, 2000, 1)).shape[1] for strip in found} for name, found in cuts.items()}
    assert max(widths["weights made twice"]) > strips.KEPT > max(widths["mixed"])
    wide = [strip for strip in cuts["weights made twice"] if len(strip.stretches) == 2]
    assert any(strip.keys(torch.zeros(1, 2000, 1)).shape[1] > strips.KEPT for strip in wide)


@pytest.mark.parametrize("name", SHAPES)
def test_every_token_is_a_query_once_and_no_strip_is_larger_than_it_should_be(name):
    packed = layout(name)
    found = packed.strips(None)
    rows = [row for strip in found for row in range(strip.rows.start, strip.rows.stop)]
    assert rows == list(range(len(packed.sight.position_T)))
    assert max(strip.rows.stop - strip.rows.start for strip in found) <= 192


def test_no_score_is_computed_between_responses_that_lie_in_different_strips():
    """Seven responses of 96 behind 96 tokens: a strip's keys are the prompt and its own two responses."""
    packed = Layout.of(pack([group(np.random.default_rng(0), 96, [96] * 7)]))
    keys = [sum(s.stop - s.start for s in strip.stretches) for strip in packed.strips(None)]
    assert keys == [192, 288, 288, 288]


def test_weights_of_wide_strips_are_not_kept():
    """Behind 600 tokens a strip's weights would be larger than all that a layer keeps otherwise."""
    found = {}
    for name in ("cut in responses", "weights made twice"):
        packed = layout(name)
        query = torch.zeros(1, 3, len(packed.sight.position_T), 8, requires_grad=True)
        kept = in_strips(query, query, query, packed.strips(None), 0.3).grad_fn.saved_tensors[3:]
        found[name] = [weights is not None for weights in kept]
    assert all(found["cut in responses"])
    assert found["weights made twice"][:4] == [True, True, True, False]


def test_nothing_is_kept_where_no_gradient_is_wanted():
    packed = layout("mixed")
    query = torch.zeros(1, 3, len(packed.sight.position_T), 8, requires_grad=True)
    with torch.no_grad():
        assert in_strips(query, query, query, packed.strips(None), 0.3).grad_fn is None


def test_masks_of_a_long_sequence_are_no_square():
    packed = Layout.of(pack([group(np.random.default_rng(0), 100, [8000])]))
    found = packed.strips(None)
    assert sum(strip.hidden_QK.numel() for strip in found) < 8100 * 192
    assert max((strip.rows.stop - strip.rows.start) * strip.stretches[0].stop for strip in found) <= 2**19


def test_keys_out_of_a_window_cost_nothing():
    packed = Layout.of(pack([group(np.random.default_rng(0), 1000, [300, 300])]))
    keys = [sum(s.stop - s.start for s in strip.stretches) for strip in packed.strips(64)]
    assert max(keys) < 192 + 300 + 64


def test_second_derivatives_are_refused_where_they_would_be_wrong():
    packed = layout("small")
    query = torch.randn(1, 3, len(packed.sight.position_T), 8, requires_grad=True)
    output = in_strips(query, query, query, packed.strips(None), 0.3)
    (first,) = torch.autograd.grad(output.square().sum(), query, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
