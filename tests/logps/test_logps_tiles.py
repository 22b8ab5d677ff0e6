"""Attention in tiles against one masked softmax over the whole packed row."""

import numpy as np
import pytest
import torch
from zoo import group

from logratio.batch.packed import pack
from logratio.logps.attention import Layout
from logratio.logps.tiles import Stack, tiled

SHAPES = {
    "stacked": [(n % 7 + 1, [n % 5 + 2, n % 11 + 1]) for n in range(24)],
    "in place": [(150, [90, 70]), (80, [300])],
    "mixed": [(9, [4, 100]), (120, [3]), (9, [6, 6, 1, 2]), (0, [5, 80]), (9, [4, 1])],
    "no prompts": [(0, [3]), (0, [70, 2])],
    "one response": [(n % 7 + 1, [n % 11 + 1]) for n in range(12)] + [(90, [40]), (5, [2, 3])],
}


def layout(name):
    rng = np.random.default_rng(0)
    return Layout.of(pack([group(rng, prompt, lengths) for prompt, lengths in SHAPES[name]]))


def dense(query, key, value, packed, scale):
    """A token sees its own group's prompt and its own response, up to itself."""
    scores = (query @ key.transpose(2, 3) * scale).masked_fill(~packed.sight.dense(None), -torch.inf)
    return torch.softmax(scores, -1) @ value


def run(function, packed, dtype):
    generator = torch.Generator().manual_seed(0)
    tokens = len(packed.sight.position_T)
    drawn = [torch.randn(1, tokens, 3, 8, generator=generator, dtype=torch.float64) for _ in range(4)]
    *leaves, upstream = (x.to(dtype).transpose(1, 2).requires_grad_() for x in drawn)
    output = function(*leaves, packed)
    output.backward(upstream.detach())
    return [output.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("name", SHAPES)
def test_tiles_equal_one_masked_softmax_in_values_and_gradients(name):
    packed = layout(name)
    tiles = run(lambda q, k, v, p: tiled(q, k, v, p.tiles, 0.3), packed, torch.float64)
    whole = run(lambda q, k, v, p: dense(q, k, v, p, 0.3), packed, torch.float64)
    for found, expected in zip(tiles, whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["stacked", "mixed"])
def test_pads_do_not_overflow_however_large_the_scores(name):
    """A stack's pads repeat row 0: their scores, less row 0's log-sum-exp, have no bound."""
    packed = layout(name)
    tiles = run(lambda q, k, v, p: tiled(q, k, v, p.tiles, 90.0), packed, torch.float32)
    whole = run(lambda q, k, v, p: dense(q, k, v, p, 90.0), packed, torch.float64)
    for found, expected in zip(tiles, whole, strict=True):
        assert found.isfinite().all()
        assert float((found - expected).norm() / expected.norm()) < 1e-3


def test_tiles_in_bfloat16_are_near_the_exact_ones():
    packed = layout("mixed")
    half = run(lambda q, k, v, p: tiled(q, k, v, p.tiles, 0.3), packed, torch.bfloat16)
    exact = run(lambda q, k, v, p: tiled(q, k, v, p.tiles, 0.3), packed, torch.float64)
    for found, expected in zip(half, exact, strict=True):
        assert found.dtype == torch.bfloat16
        assert float((found.double() - expected).norm() / expected.norm()) < 0.01


def test_the_shapes_cover_both_ways_of_reading():
    kinds = {name: {type(tile.queries) for tile in layout(name).tiles.own} for name in SHAPES}
    assert kinds["stacked"] == {Stack} and Stack not in kinds["in place"] and len(kinds["mixed"]) == 2


def test_masked_scores_are_never_computed():
    """Products in tiles: prompt² + responses² + responses · prompt, padding apart."""
    packed = layout("in place")
    products = sum(
        (tile.queries.rows.stop - tile.queries.rows.start) * (tile.keys.rows.stop - tile.keys.rows.start)
        for tile in (*packed.tiles.own, *packed.tiles.prompt)
    )
    assert products == 150**2 + 90**2 + 70**2 + 160 * 150 + 380**2  # the last prompt has one response


def test_a_prompt_with_one_response_is_one_sequence():
    packed = Layout.of(pack([group(np.random.default_rng(0), 90, [40])]))
    assert packed.tiles.prompt == []
    (tile,) = packed.tiles.own
    assert tile.queries.rows == slice(0, 130) and tile.causal
