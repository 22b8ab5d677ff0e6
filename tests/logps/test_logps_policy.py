"""The shared path against the plain one, and both against single rows."""

import numpy as np
import pytest
import torch
from zoo import CONFIGS, V, build, difference, exact_norms, group, uneven

from logratio.batch.group import Group
from logratio.batch.needs import Needs
from logratio.batch.packed import pack
from logratio.config import LoraConfig
from logratio.errors import ModelError
from logratio.logps.policy import Policy, choose_path
from logratio.models import adapters
from logratio.models.dropout import switch_off_dropout
from logratio.models.load import load_model

NEEDS = Needs()
FAST = ("llama", "mistral window", "gpt2", "qwen3-moe")
PLAIN_ONLY = {
    "mamba": "MambaForCausalLM carries a recurrent state",
    "falcon": "FalconForCausalLM does not take its attention",
    "stablelm": "StableLmAttention is not handed the layout",
}


def architectures():
    for name in CONFIGS:
        if name not in PLAIN_ONLY:
            yield pytest.param(name, marks=() if name in FAST else pytest.mark.slow)


@pytest.mark.parametrize("name", list(architectures()))
def test_shared_equals_plain(name, record_property):
    """Float32, weights spread so wide that log-probs reach −60 nats: rounding alone, relative to that."""
    found = difference(build(name), uneven())
    record_property("difference", str(found))
    print(f"\n{name:16s} values {found.values:.1e} nat, gradients {found.gradients:.1e}, extras {found.extras:.1e}")
    assert found.values < 5e-5 and found.gradients < 1e-5 and found.extras < 2e-5


@pytest.mark.parametrize("name", ["llama", "llama tied", pytest.param("mistral window", marks=pytest.mark.slow)])
def test_shared_equals_plain_in_float64(name):
    found = difference(exact_norms(build(name, dtype=torch.float64)), uneven())
    assert found.values < 1e-12 and found.gradients < 1e-12 and found.extras < 1e-12


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("q_proj", "lm_head"), "all-linear"])
def test_shared_equals_plain_with_adapters_in_float64(targets):
    model = adapters.create(build("llama", dtype=torch.float64), LoraConfig(r=3, targets=targets), seed=0)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, dtype=torch.float64) * 0.1
    found = difference(exact_norms(model), uneven())
    assert found.values < 1e-12 and found.gradients < 1e-12
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {name for name, p in model.named_parameters() if p.requires_grad}
    assert ("lm_head" in targets) == any("lm_head" in name for name in trained)


@pytest.mark.parametrize(
    "name",
    ["stories-260k", pytest.param("stories-char-936k", marks=pytest.mark.slow)]
    + [pytest.param("reviews-7m", marks=pytest.mark.slow)],
)
def test_shared_equals_plain_on_trained_models(name, shared_data):
    loaded = load_model(str(shared_data / "models" / name))
    batch = uneven(loaded.model.config.vocab_size)
    found = difference(loaded.model, batch)
    print(f"\n{name:18s} values {found.values:.1e} nat, gradients {found.gradients:.1e}, extras {found.extras:.1e}")
    assert found.values < 5e-5 and found.gradients < 1e-5
    policy = Policy(loaded.model)
    assert choose_path(policy, batch) == "shared" and "equal to the plain path" in policy.reason


@pytest.mark.parametrize("path", ["shared", "plain"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_every_scored_token_is_predicted_from_all_that_precedes_it(name, path):
    """One unpadded row per response, no mask, no positions: the first response token and absolute positions count."""
    batch = uneven()
    model = build(name)
    policy = Policy(model, path=path)
    with torch.no_grad():
        logps_R = policy(batch, NEEDS).policy_R
        at, expected = 0, []
        spans = batch.spans
        for s, g in enumerate(spans.group_S.tolist()):
            start, prompt = int(spans.prompt_start_G[g]), int(spans.prompt_length_G[g])
            own, length = int(spans.response_start_S[s]), int(spans.response_length_S[s])
            ids = torch.cat((batch.tokens_T[start : start + prompt], batch.tokens_T[own : own + length]))
            logp_LV = torch.log_softmax(model(ids[None]).logits[0], -1)
            for source, target in zip(
                batch.source_R[batch.response_R == s].tolist(),
                batch.target_R[batch.response_R == s].tolist(),
                strict=True,
            ):
                column = prompt - 1 if source < own else prompt + source - own
                assert ids[column + 1] == target
                expected.append(logp_LV[column, target])
                at += 1
    assert at == len(logps_R)
    torch.testing.assert_close(logps_R, torch.stack(expected), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("path", ["shared", "plain"])
@pytest.mark.parametrize("responses", [1, 2, 4])
def test_a_groups_log_probs_do_not_depend_on_its_bin(path, responses):
    rng = np.random.default_rng(responses)
    groups = [group(rng, prompt, [3 + 5 * k for k in range(responses)]) for prompt in (70, 2, 17)]
    policy = Policy(exact_norms(build("llama", dtype=torch.float64)), path=path)
    together_R = policy(pack(groups), NEEDS).policy_R
    alone_R = torch.cat([policy(pack([g]), NEEDS).policy_R for g in groups])
    torch.testing.assert_close(together_R, alone_R, rtol=0, atol=1e-12)


def test_a_response_does_not_see_its_siblings_nor_other_groups():
    rng = np.random.default_rng(0)
    first, second = group(rng, 6, [5, 8], gaps=False), group(rng, 3, [4, 4], gaps=False)
    policy = Policy(build("llama"))
    changed = Group(0, first.prompt, (first.responses[0], first.responses[1][::-1].copy()), first.loss, first.edges)
    before_R, after_R = (policy(pack([g, second]), NEEDS).policy_R for g in (first, changed))
    assert torch.equal(before_R[:5], after_R[:5]) and torch.equal(before_R[13:], after_R[13:])
    assert not torch.allclose(before_R[5:13], after_R[5:13])


@pytest.mark.parametrize("name", ["llama", pytest.param("gpt2", marks=pytest.mark.slow)])
@pytest.mark.parametrize("lora", [False, True])
def test_checkpointing_gives_the_same_gradients_while_batches_interleave(name, lora):
    """Two forwards, then two backwards: a layout kept in a global would be the second batch's in both."""
    rng = np.random.default_rng(0)
    batches = [pack([group(rng, 9, [4, 6])]), pack([group(rng, 2, [3]), group(rng, 5, [8, 1, 2])])]
    gradients = []
    for checkpointing in (False, True):
        model = build(name)
        if lora:
            target = "q_proj" if name == "llama" else "c_attn"
            model = adapters.create(model, LoraConfig(r=2, targets=target), seed=0)
            for parameter_name, parameter in model.named_parameters():
                if "lora_B" in parameter_name:
                    torch.nn.init.constant_(parameter, 0.1)
        policy = Policy(model, checkpointing=checkpointing).train()
        losses = [policy(batch, NEEDS).policy_R.sum() for batch in batches]
        for loss in losses:
            loss.backward()
        gradients.append([p.grad for p in policy.parameters() if p.requires_grad])
    for kept, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(kept, recomputed, rtol=1e-6, atol=1e-6)
        assert kept.any()


@pytest.mark.parametrize("path", ["shared", "plain"])
def test_an_empty_batch_gives_empty_log_probs_and_zero_gradients(path):
    policy = Policy(build("llama"), path=path)
    logps_R = policy(pack([]), NEEDS).policy_R
    assert logps_R.shape == (0,)
    logps_R.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in policy.parameters())


def test_two_forwards_are_bitwise_equal_in_training_mode():
    """Dropout in the source would make paired forwards, ratios and cached references disagree."""
    import transformers

    sizes = dict(vocab_size=V, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).train()
    changed = switch_off_dropout(model)
    assert changed["transformer.drop"] == 0.1 and changed["transformer.h.*.mlp.dropout"] == 0.1
    policy, batch = Policy(model), uneven()
    assert torch.equal(policy(batch, NEEDS).policy_R, policy(batch, NEEDS).policy_R)


def test_attention_with_dropout_is_refused():
    model = build("llama")
    model.model.layers[0].self_attn.attention_dropout = 0.1
    with pytest.raises(ValueError, match="dropout is 0.1"):
        Policy(model)(uneven(), NEEDS)


@pytest.mark.parametrize("name", PLAIN_ONLY)
def test_an_architecture_that_cannot_share_takes_the_plain_path_and_says_so(name):
    policy = Policy(build(name))
    batch = uneven(empty_prompt=name != "mamba")
    assert choose_path(policy, batch) == "plain" == policy.path
    assert policy.reason.startswith(PLAIN_ONLY[name])
    logps = policy(batch, NEEDS)
    logps.policy_R.sum().backward()
    assert logps.policy_R.isfinite().all() and all(p.grad is not None for p in policy.parameters() if p.requires_grad)


def test_sharing_by_force_where_it_cannot_be_is_an_error():
    with pytest.raises(ModelError, match="recurrent state"):
        Policy(build("mamba"), path="shared")


def test_a_difference_between_the_paths_is_found_and_printed():
    """A model whose forward does more to its logits than its config says."""
    import transformers

    class Sharper(transformers.LlamaForCausalLM):
        def forward(self, *args, **kwargs):
            output = super().forward(*args, **kwargs)
            output.logits = 2 * output.logits
            return output

    model = build("llama")
    model.__class__ = Sharper
    policy = Policy(model)
    assert choose_path(policy, uneven()) == "plain"
    assert policy.reason.startswith("Sharper differs by")


def test_generation_is_what_it_was_before_the_model_became_a_policy():
    """Left-padded prompts: without a layout the registered attention is the ordinary one."""
    model = build("llama").eval()
    ids = torch.tensor([[0, 0, 0, 5, 6, 7], [9, 8, 7, 6, 5, 4]])
    settings = dict(attention_mask=(ids != 0).long(), max_new_tokens=6, do_sample=False, pad_token_id=0)
    before = model.generate(ids, **settings)
    assert Policy(model).path == "shared"
    assert torch.equal(before, model.generate(ids, **settings))


def test_the_router_loss_counts_a_prompt_once_per_response():
    """The load-balancing loss of K rows, from a row that holds the prompt once; 0 weight would drop it silently."""
    rng = np.random.default_rng(0)
    batch = pack([group(rng, 9, [4, 6, 2]), group(rng, 3, [5])])
    model = build("qwen3-moe")
    shared, plain = (Policy(model, path=path)(batch, NEEDS).auxiliary for path in ("shared", "plain"))
    assert shared.requires_grad and float(plain.detach()) > 0.1
    torch.testing.assert_close(shared, plain, rtol=1e-5, atol=1e-6)
    model.config.output_router_logits = False
    assert Policy(model)(batch, NEEDS).auxiliary is None
