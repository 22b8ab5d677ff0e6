"""The route that encodes each prompt once: equal to the plain one, and no token computed that need not be."""

import numpy as np
import pytest
import torch
import transformers
from test_rollout_generate import FAMILIES, HEADS, SIZE, STOP, build, prompts_of
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from logratio.logps.policy import Policy
from logratio.rollout import attend
from logratio.rollout.cache import Block, Rows
from logratio.rollout.generate import generate
from logratio.rollout.plain import sample_plain
from logratio.rollout.route import route
from logratio.rollout.sampling import Rules
from logratio.rollout.shared import _inference, sample_shared
from logratio.train.distributed import unsharded

SHARING = {
    "llama": FAMILIES["llama"],
    "gpt2": FAMILIES["gpt2 (absolute positions)"],
    "qwen3": lambda: transformers.Qwen3Config(**HEADS, head_dim=8),
    "opt": lambda: transformers.OPTConfig(
        vocab_size=13,
        hidden_size=16,
        ffn_dim=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        word_embed_proj_dim=16,
        max_position_embeddings=64,
    ),
}
DYNAMIC = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10.0}
KEEPING = {
    **SHARING,
    "llama, angles made anew": lambda: transformers.LlamaConfig(
        **{**HEADS, "max_position_embeddings": 8}, rope_parameters=DYNAMIC
    ),
}
NOT_SHARING = {
    "mistral (sliding window)": "sees 4 tokens back",
    "gemma3 (sliding and full)": "sees 4 tokens back",
    "falcon": "attention interface",
    "mamba (recurrent)": "recurrent state",
}


def rules(k=3, limit=12, temperature=1.0):
    return Rules(k, limit, np.array([STOP, 5]), temperature, 7)


def same(a, b) -> bool:
    return all(
        np.array_equal(x.tokens, y.tokens) and np.allclose(x.logps, y.logps, atol=1e-6) and x.ended == y.ended
        for own, other in zip(a, b, strict=True)
        for x, y in zip(own, other, strict=True)
    )


@pytest.mark.parametrize("family", SHARING)
@pytest.mark.parametrize("apart", [1, 6, 1000])
@torch.no_grad()
def test_samples_are_those_of_the_plain_route(family, apart):
    """Prompts apart, mixed and copied; a small budget lets prompts join while others are at work."""
    model = build(SHARING[family]())
    prompts = prompts_of(3, 8, 9, 3, 20, 11, 5, 10, 9)
    plain = sample_plain(model, prompts, rules(), 1 << 14)
    assert len({len(sample.tokens) for own in plain for sample in own}) > 4
    for budget in (1 << 14, 150, 1):
        assert same(sample_shared(model, prompts, rules(), budget, apart), plain)


@torch.no_grad()
def test_short_buffers_grow_and_long_samples_keep_what_they_held():
    model = build(transformers.LlamaConfig(**{**HEADS, "max_position_embeddings": 256}))
    long = Rules(2, 150, np.zeros(0, np.int64), 1.0, 1)
    prompts = prompts_of(4, 30)
    assert same(sample_shared(model, prompts, long, 1 << 14, 20), sample_plain(model, prompts, long, 1 << 14))


@torch.no_grad()
def test_every_token_passes_the_model_once_and_nothing_else_does():
    """Σ prompt + Σ (sample − 1): a last token is not fed, finished samples are dropped, nothing is padded."""
    model = build(FAMILIES["llama"]())
    prompts = prompts_of(3, 8, 9, 20, 11)
    passed = []
    handle = model.get_input_embeddings().register_forward_hook(lambda _, ids, __: passed.append(ids[0].numel()))
    for apart in (6, 1000):
        passed.clear()
        drawn = sample_shared(model, prompts, rules(), 120, apart)
        assert sum(passed) == sum(map(len, prompts)) + sum(len(s.tokens) - 1 for own in drawn for s in own)
    handle.remove()


@pytest.mark.parametrize("family", SHARING)
def test_families_that_share(family):
    model = build(SHARING[family]())
    with torch.no_grad():
        found = route(model, 40)
    assert found.name == "shared" and "equal to whole rows" in found.reason


@pytest.mark.parametrize("family", NOT_SHARING)
def test_families_that_do_not_say_why(family):
    found = route(build(FAMILIES[family]()), 40)
    assert found.name == "plain" and NOT_SHARING[family] in found.reason


def test_a_window_that_reaches_over_prompt_and_sample_is_none():
    model = build(FAMILIES["mistral (sliding window)"]())
    model.config.sliding_window = 40
    with torch.no_grad():
        assert route(model, 40).name == "shared"
        assert route(model, 41).name == "plain"


def test_an_architecture_that_hands_on_no_layout_samples_plainly():
    model = build(transformers.StableLmConfig(**SIZE, num_key_value_heads=4))
    with torch.no_grad():
        found = route(model, 40)
    assert found.name == "plain" and "not handed the layout" in found.reason
    assert model.config._attn_implementation == "sdpa"
    (samples,) = generate(model, prompts_of(4), k=2, max_new_tokens=3, stop_ids=[])
    assert [len(sample.tokens) for sample in samples] == [3, 3]


@pytest.mark.parametrize("fault", ["_encode", "_decode", "_add_prompts"])
def test_a_wrong_product_is_found_by_the_trial(fault, monkeypatch):
    """Scores doubled, in one of the three kinds of product."""
    right = getattr(attend, fault)
    monkeypatch.setattr(attend, fault, lambda *given: right(*given[:-1], given[-1] * 2))
    with torch.no_grad():
        found = route(build(FAMILIES["llama"]()), 40)
    assert found.name == "plain" and "differs by" in found.reason


def test_token_frequencies_are_those_of_transformers_generate():
    """Two-sample chi-square over responses of two tokens, from a prompt that lies apart."""
    model = build(transformers.LlamaConfig(**{**HEADS, "vocab_size": 5, "max_position_embeddings": 256}), sharp=2.5)
    prompt, draws = np.arange(64, dtype=np.int32) % 5, 1500
    samples = sample_of(model, prompt, draws)
    torch.manual_seed(0)
    theirs = model.generate(
        torch.from_numpy(prompt)[None].long().expand(draws, -1),
        attention_mask=torch.ones(draws, len(prompt), dtype=torch.int64),
        do_sample=True,
        top_k=0,
        max_new_tokens=2,
        pad_token_id=0,
    )[:, len(prompt) :]
    ours = np.bincount([int(5 * a + b) for a, b in samples], minlength=25)
    other = np.bincount((5 * theirs[:, 0] + theirs[:, 1]).numpy(), minlength=25)
    common = ours + other >= 10
    assert common.sum() > 10
    distance = ((ours - other) ** 2 / np.maximum(ours + other, 1))[common].sum()
    assert distance < common.sum() + 4 * np.sqrt(2 * common.sum())


def sample_of(model, prompt, draws):
    (samples,) = generate(model, [prompt], k=draws, max_new_tokens=2, stop_ids=[])
    return [sample.tokens for sample in samples]


def test_rows_keep_their_content_through_joins_drops_and_growth():
    """Each row is written with its own number; whatever joins, ends and moves, it holds that number."""
    rng, rows = np.random.default_rng(0), Rows()
    names = np.zeros(0)
    for step in range(150):
        if rng.random() < 0.3:
            joining = int(rng.integers(1, 6))
            rows.add(np.zeros(joining, np.int64))
            names = np.concatenate((names, step + np.arange(joining) / 10))
        rows.make_room()
        key, value = rows.layer(0, torch.zeros(1, 2, 1, 3))
        for i, name in enumerate(names):
            assert (key[i, :, : rows.held[i]] == name).all() and (value[i, :, : rows.held[i]] == -name).all()
            key[i, :, rows.held[i]], value[i, :, rows.held[i]] = name, -name
        rows.held += 1
        names = names[rows.drop(rng.random(len(names)) < 0.03)]
    assert len(names) > 3 and rows.held.max() > 64


def test_a_block_lets_go_of_prompts():
    block = Block([4, 2, 3])
    for place, length in enumerate((4, 2, 3)):
        block.write(0, place, torch.full((2, length, 3), float(place)), torch.full((2, length, 3), -float(place)))
    assert torch.isneginf(block.mask_n11L[:, 0, 0]).sum(1).tolist() == [0, 2, 1]
    block.keep([2])
    assert block.lengths == [3] and (block.layers[0][0][0, :, :3] == 2).all()
    assert torch.isneginf(block.mask_n11L[:, 0, 0]).sum(1).tolist() == [1]


@pytest.mark.parametrize("family", KEEPING)
def test_a_model_that_has_sampled_can_learn_as_before(family):
    """What it keeps of a pass, such as the rotary angles of the longest text so far, serves a pass with gradients."""
    model, other = build(KEEPING[family]()), build(KEEPING[family]())
    sample_shared(model, prompts_of(9, 5), rules(), 1 << 12)
    with torch.no_grad():
        sample_plain(other, prompts_of(9, 5), rules(), 1 << 12)
    held = [tensor for module in model.modules() for tensor in (*vars(module).values(), *module._buffers.values())]
    assert not any(isinstance(tensor, torch.Tensor) and tensor.is_inference() for tensor in held)
    ids = torch.arange(1, 12)[None]
    for each in (model, other):
        each(input_ids=ids).logits.square().sum().backward()
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)


def test_a_policys_fusions_are_back_when_samples_are_drawn():
    model = build(SHARING["llama"](), dtype=torch.float32)
    Policy(model)
    before = {name: module.__dict__.get("forward") for name, module in model.named_modules()}
    assert sum(forward is not None for forward in before.values()) == 7  # five norms, two gated blocks
    sample_shared(model, prompts_of(9, 5), rules(), 1 << 12)
    assert before == {name: module.__dict__.get("forward") for name, module in model.named_modules()}


def test_what_a_module_keeps_of_a_pass_can_have_a_gradient_taken_through_it():
    class Keeping(nn.Module):
        def forward(self):
            self.table = torch.arange(3.0)
            self.register_buffer("angles", torch.arange(3.0), persistent=False)

    model = Keeping()
    with _inference(model):
        model()
    weight = torch.ones(3, requires_grad=True)
    (weight * model.table * model.angles).sum().backward()
    assert torch.equal(weight.grad, torch.tensor([0.0, 1.0, 4.0]))


@pytest.mark.filterwarnings("ignore:.*reduce_op.*:FutureWarning")
def test_weights_that_are_dealt_out_are_sampled_from_as_before(tmp_path):
    """A mesh of one process: a block's weights are whole only while the block itself is called."""
    model, whole = (build(SHARING["llama"](), dtype=torch.float32) for _ in range(2))
    prompts = prompts_of(9, 5)
    expected = generate(whole, prompts, k=2, max_new_tokens=6, stop_ids=[STOP])
    policy = Policy(model)
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        for block in (*model.model.layers, policy):
            fully_shard(block, mesh=mesh, reshard_after_forward=True)
        for _ in range(2):
            with unsharded(policy):
                assert same(generate(model, prompts, k=2, max_new_tokens=6, stop_ids=[STOP]), expected)
    finally:
        distributed.destroy_process_group()
