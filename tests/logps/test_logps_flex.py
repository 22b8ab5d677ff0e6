"""Attention over blocks, as on a GPU, on the CPU: the library's own mathematics against masks written out by hand.

The library refuses a backward pass on the CPU, though the mathematics it falls back to there has one. `on_blocks` lifts
the refusal, and nothing else; only the compiled kernels remain for a GPU to show.
"""

import shutil
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.attention import flex_attention as library
from zoo import build, difference, exact_norms, group, uneven

from logratio.batch.needs import Needs
from logratio.batch.packed import capacity, pack
from logratio.logps import attention
from logratio.logps.attention import Layout, attend
from logratio.logps.flex import BLOCK, flex
from logratio.logps.policy import Policy

SHAPES = {
    "k 1": [(9, [30]), (40, [3]), (1, [2])],
    "k 2": [(70, [90, 61]), (5, [4, 12]), (33, [1, 80])],
    "k 8": [(50, [20, 3, 7, 31, 1, 16, 9, 25])],
    "no prompts": [(0, [5, 80]), (0, [3]), (12, [4, 4])],
}
COMPILING = pytest.mark.filterwarnings("ignore")  # the compiler warns of its own code
SINK = torch.tensor([0.3, -1.0, 2.0, 0.0])


@pytest.fixture
def on_blocks(monkeypatch):
    monkeypatch.setattr(attention, "_BLOCKS_ON", "cpu")
    monkeypatch.setattr(library, "_validate_device", lambda *_: None)
    monkeypatch.setattr(library, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)  # traces nothing, so is quick


def batch_of(name, *, gaps=True):
    rng = np.random.default_rng(0)
    return pack([group(rng, prompt, lengths, gaps=gaps) for prompt, lengths in SHAPES[name]])


def by_hand(shapes, window):
    """[T, T], written out sequence by sequence: every response behind its own prompt, causally."""
    tokens = sum(prompt + sum(lengths) for prompt, lengths in shapes)
    seen_TT, at = torch.zeros(tokens, tokens, dtype=torch.bool), 0
    for prompt, lengths in shapes:
        start = at
        at += prompt
        for length in lengths or [0]:
            sequence = [*range(start, start + prompt), *range(at, at + length)]
            for place, i in enumerate(sequence):
                first = 0 if window is None else max(0, place + 1 - window)
                seen_TT[i, sequence[first : place + 1]] = True
            at += length
    return seen_TT


def written_out(query, key, value, seen_TT, scale, softcap, sink_H):
    repeats = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(repeats, dim=1) for tensor in (key, value))
    scores = query @ key.transpose(2, 3) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    weights = scores.masked_fill(~seen_TT, -torch.inf).exp()
    total = weights.sum(-1, keepdim=True) + (0 if sink_H is None else sink_H[None, :, None, None].exp())
    return weights / total @ value


def drawn(tokens, dtype, kv_heads=2, device="cpu"):
    generator = torch.Generator().manual_seed(0)
    heads = (4, kv_heads, kv_heads, 4)
    made = [torch.randn(1, tokens, h, 16, generator=generator, dtype=torch.float64).to(device, dtype) for h in heads]
    return [x.transpose(1, 2).requires_grad_() for x in made]


def run(function, tokens, dtype, kv_heads=2, device="cpu"):
    *leaves, upstream = drawn(tokens, dtype, kv_heads, device)
    output = function(*leaves)
    output.backward(upstream.detach())
    return [output.detach(), *(leaf.grad for leaf in leaves)]


def compare(name, window, softcap, sinks, dtype, bound, device="cpu"):
    """Our attention and the formula written out, values and gradients, on a padded row."""
    batch = batch_of(name)
    batch = batch.padded(capacity(batch.tokens)).to(torch.device(device))
    packed, tokens = Layout.of(batch), len(batch.tokens_T)
    seen_TT = torch.eye(tokens, dtype=torch.bool)
    seen_TT[: batch.tokens, : batch.tokens] = by_hand(SHAPES[name], window)
    seen_TT, sink_H = seen_TT.to(device), SINK.to(device, dtype) if sinks else None

    def ours(query, key, value):
        settings = dict(scaling=0.4, packed=packed, sliding_window=window, softcap=softcap, s_aux=sink_H)
        return attend(torch.nn.Module(), query, key, value, None, **settings)[0].transpose(1, 2)

    found = run(ours, tokens, dtype, device=device)
    expected = run(lambda q, k, v: written_out(q, k, v, seen_TT, 0.4, softcap, sink_H), tokens, dtype, device=device)
    assert packed._blocks and not packed._masks  # that route was taken, and no other
    for own, right in zip(found, expected, strict=True):
        torch.testing.assert_close(own, right, rtol=bound, atol=bound)


@pytest.mark.parametrize("dtype,bound", [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("softcap,sinks", [(None, False), (2.0, False), (None, True)])
@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("name", SHAPES)
def test_values_and_gradients_are_those_of_the_dense_mask(name, window, softcap, sinks, dtype, bound, on_blocks):
    compare(name, window, softcap, sinks, dtype, bound)


@COMPILING
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("softcap,sinks", [(None, False), (2.0, False), (None, True)])
@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("name", SHAPES)
def test_the_compiled_kernels_do_so_too(name, window, softcap, sinks):
    compare(name, window, softcap, sinks, torch.float32, 2e-3, "cuda")


@pytest.mark.parametrize("kv_heads", [1, 4])
def test_one_key_head_for_all_or_one_for_each(kv_heads, on_blocks):
    packed, seen_TT = Layout.of(batch_of("k 2")), by_hand(SHAPES["k 2"], None)
    blocks = packed.blocks(None)
    found = run(lambda q, k, v: flex(q, k, v, blocks, 0.4, None, None), len(seen_TT), torch.float64, kv_heads)
    expected = run(
        lambda q, k, v: written_out(q, k, v, seen_TT, 0.4, None, None), len(seen_TT), torch.float64, kv_heads
    )
    for own, right in zip(found, expected, strict=True):
        torch.testing.assert_close(own, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("window", [None, 100])
@pytest.mark.parametrize("shapes", [[(300, [400, 350, 500])], [(20, [30, 40])] * 12, [(0, [200] * 8)], [(700, [1])]])
def test_no_block_is_computed_that_holds_no_visible_pair(shapes, window):
    """The lists that the kernels follow: blocks in part visible, and blocks wholly visible, which need no mask."""
    rng = np.random.default_rng(0)
    batch = pack([group(rng, prompt, lengths) for prompt, lengths in shapes])
    batch = batch.padded(capacity(batch.tokens))
    blocks = Layout.of(batch).blocks(window)
    side = len(batch.tokens_T) // BLOCK
    seen_TT = torch.eye(len(batch.tokens_T), dtype=torch.bool)  # a pad sees itself
    own = by_hand(shapes, window)
    seen_TT[: len(own), : len(own)] = own
    count = seen_TT.view(side, BLOCK, side, BLOCK).sum((1, 3))
    listed = [set(), set()]
    for found, (number, where) in zip(
        listed,
        [(blocks.kv_num_blocks, blocks.kv_indices), (blocks.full_kv_num_blocks, blocks.full_kv_indices)],
        strict=True,
    ):
        for row in range(side):
            found |= {(row, column) for column in where[0, 0, row, : number[0, 0, row]].tolist()}
    part, full = (
        set(map(tuple, which.nonzero().tolist())) for which in ((count > 0) & (count < BLOCK**2), count == BLOCK**2)
    )
    assert listed == [part, full]
    assert len(part | full) < side * (side + 1) // 2 or side < 3 or len(shapes[0][1]) == 1


def test_a_token_of_another_response_costs_nothing():
    """Eight responses of four blocks each: 8·(4·5/2) blocks of their own, where one causal row would take 528."""
    batch = pack([group(np.random.default_rng(0), 0, [4 * BLOCK] * 8)])
    blocks = Layout.of(batch).blocks(None)
    assert int(blocks.kv_num_blocks.sum() + blocks.full_kv_num_blocks.sum()) == 80
    assert int(blocks.full_kv_num_blocks.sum()) == 8 * 6  # those below the diagonal need no mask


def test_one_list_of_blocks_serves_all_layers_and_a_window_beyond_the_longest_sequence_is_none(on_blocks):
    packed = Layout.of(batch_of("k 2"))
    query, key, value, _ = drawn(sum(packed.length_G), torch.float32)
    with torch.no_grad():
        for window in (None, 7, 10**6, 7, None):
            attend(torch.nn.Module(), query, key, value, None, packed=packed, sliding_window=window)
    assert set(packed._blocks) == {None, 7} and packed.blocks(7) is packed.blocks(7)


@pytest.mark.parametrize("name", ["llama", "qwen2 window", "gemma2", pytest.param("gpt-oss", marks=pytest.mark.slow)])
def test_a_model_gives_the_log_probs_and_gradients_of_the_plain_path(name, on_blocks):
    found = difference(build(name), uneven())
    assert found.values < 5e-5 and found.gradients < 1e-5 and found.extras < 2e-5


def test_a_model_does_so_in_float64(on_blocks):
    found = difference(exact_norms(build("llama", dtype=torch.float64)), uneven())
    assert found.values < 1e-12 and found.gradients < 1e-12


@pytest.mark.parametrize("name", ["llama", "gemma2", "qwen3-moe"])
def test_pads_change_no_log_prob_no_gradient_and_no_router_loss(name, on_blocks):
    model, batch = build(name), uneven()
    found = []
    for own in (batch, batch.padded(capacity(batch.tokens)), batch.padded(300)):
        assert own.tokens == batch.tokens
        policy = Policy(model, path="shared")
        policy.zero_grad()
        logps = policy(own, Needs())
        loss = logps.policy_R.sum() + (0 if logps.auxiliary is None else 7 * logps.auxiliary)
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in policy.parameters()])
        found.append((logps.policy_R.detach(), gradient / gradient.norm()))
    for logp_R, gradient in found[1:]:
        torch.testing.assert_close(logp_R, found[0][0], rtol=1e-5, atol=3e-5)
        assert float((gradient - found[0][1]).norm()) < 1e-5


def test_capacities_are_few_whole_blocks_and_waste_little():
    sizes = [capacity(tokens) for tokens in range(1, 20_001)]
    assert all(size % BLOCK == 0 and size >= tokens for tokens, size in enumerate(sizes, 1))
    assert all(size - tokens < max(BLOCK, tokens / 16) for tokens, size in enumerate(sizes, 1))
    assert len(set(sizes)) < 80 and capacity(0) == 0
    assert all(capacity(size) == size for size in set(sizes))


@pytest.mark.slow
@COMPILING
@pytest.mark.parametrize("softcap,sinks", [(None, False), (2.0, True)])
def test_batches_of_every_length_share_one_compiled_graph_a_mask(softcap, sinks, monkeypatch):
    """The compiler's front end alone, which is the same on every device: one graph, then one for all lengths.

    Both calls that a GPU compiles: the attention, and the making of its blocks.
    """
    torch._dynamo.reset()
    graphs = {"flex_attention": [], "create_block_mask": []}

    def counting(graph, _, into):
        into.append(graph)
        return graph.forward

    for name, own in graphs.items():
        compiled = torch.compile(getattr(library, name), fullgraph=True, backend=partial(counting, into=own))
        monkeypatch.setattr(f"logratio.logps.flex.{name}", compiled)
    rng = np.random.default_rng(0)
    for prompt in (100, 300, 420, 900, 1300, 700, 250, 500, 610, 800):
        batch = pack([group(rng, prompt, [20, 30])])
        batch = batch.padded(capacity(batch.tokens))
        packed = Layout.of(batch)
        query, key, value, _ = (x.detach() for x in drawn(len(batch.tokens_T), torch.float32))
        for window in (None, 7):
            flex(query, key, value, packed.blocks(window), 0.4, softcap, SINK if sinks else None)
    torch._dynamo.reset()
    assert {name: len(own) for name, own in graphs.items()} == {"flex_attention": 4, "create_block_mask": 4}


@pytest.mark.slow
@COMPILING
@pytest.mark.skipif(shutil.which("g++") is None, reason="the library's CPU kernel is compiled with g++")
def test_a_compiled_kernel_follows_the_lists_of_blocks(monkeypatch):
    """The library's CPU kernel, forward only: right with our lists, and wrong where they are emptied."""
    torch._dynamo.reset()
    shapes = [(100, [120, 90]), (0, [60])]
    batch = pack([group(np.random.default_rng(0), prompt, lengths) for prompt, lengths in shapes])
    batch = batch.padded(384)
    packed, seen_TT = Layout.of(batch), torch.eye(384, dtype=torch.bool)
    own = by_hand(shapes, None)
    seen_TT[: len(own), : len(own)] = own
    query, key, value, _ = (x.detach() for x in drawn(384, torch.float32))
    compiled = torch.compile(library.flex_attention, fullgraph=True, dynamic=False)
    monkeypatch.setattr("logratio.logps.flex.flex_attention", compiled)
    expected = written_out(query, key, value, seen_TT, 0.4, None, None)
    blocks = packed.blocks(None)
    torch.testing.assert_close(flex(query, key, value, blocks, 0.4, None, None), expected, rtol=1e-5, atol=1e-5)
    blocks.kv_num_blocks[:, :, 1:] = 0
    blinded = flex(query, key, value, blocks, 0.4, None, None)
    torch._dynamo.reset()
    torch.testing.assert_close(blinded[:, :, :BLOCK], expected[:, :, :BLOCK], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(blinded[:, :, BLOCK:], expected[:, :, BLOCK:], atol=0.1)
