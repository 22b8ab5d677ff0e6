import itertools

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from logratio.errors import ConfigError, NonFiniteError
from logratio.logps.policy import Policy
from logratio.rollout.generate import context, generate, stop_tokens

STOP = 0
SIZE = {"vocab_size": 13, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
HEADS = {**SIZE, "num_key_value_heads": 2, "max_position_embeddings": 64}

FAMILIES = {
    "llama": lambda: transformers.LlamaConfig(**HEADS),
    "gpt2 (absolute positions)": lambda: transformers.GPT2Config(
        vocab_size=13, n_embd=16, n_layer=2, n_head=4, n_positions=64
    ),
    "mistral (sliding window)": lambda: transformers.MistralConfig(**HEADS, sliding_window=4),
    "gemma3 (sliding and full)": lambda: transformers.Gemma3TextConfig(**HEADS, head_dim=4, sliding_window=4),
    "falcon": lambda: transformers.FalconConfig(**SIZE, alibi=True),
    "mamba (recurrent)": lambda: transformers.MambaConfig(
        vocab_size=13, hidden_size=16, state_size=4, num_hidden_layers=2
    ),
}


def build(config, *, sharp: float = 4.0, dtype=torch.float64):
    """A random model whose next-token distribution is far from uniform."""
    torch.manual_seed(0)
    config.bos_token_id = config.eos_token_id = config.pad_token_id = None
    model = transformers.AutoModelForCausalLM.from_config(config).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(sharp)
    return model.eval()


@pytest.fixture(scope="module")
def llama():
    return build(FAMILIES["llama"]())


def prompts_of(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(1, 13, length).astype(np.int32) for length in lengths]


def slow_logps(model, prompt, tokens) -> np.ndarray:
    """Each token's log-prob from one full row, without any cache."""
    ids = torch.tensor([[*prompt.tolist(), *tokens.tolist()]])
    with torch.no_grad():
        logp = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return logp.gather(1, ids[0, len(prompt) :, None])[:, 0].numpy()


def same(a, b) -> bool:
    return all(np.array_equal(x.tokens, y.tokens) and x.ended == y.ended for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_logps_are_those_of_a_full_row_for_prompts_of_any_length(family):
    model = build(FAMILIES[family]())
    prompts = prompts_of(1, 9, 3, 3, 12)
    drawn = generate(model, prompts, k=2, max_new_tokens=10, stop_ids=[STOP])
    for prompt, samples in zip(prompts, drawn, strict=True):
        assert len(samples) == 2
        for sample in samples:
            assert sample.tokens.dtype == np.int32 and sample.logps.dtype == np.float32
            np.testing.assert_allclose(sample.logps, slow_logps(model, prompt, sample.tokens), atol=1e-6)


def test_a_response_ends_at_the_first_stop_token_or_at_the_limit(llama):
    drawn = generate(llama, prompts_of(2, 5, 7), k=20, max_new_tokens=6, stop_ids=[STOP, 5])
    flat = [sample for samples in drawn for sample in samples]
    for sample in flat:
        stops = np.isin(sample.tokens, [STOP, 5])
        assert not stops[:-1].any()
        assert sample.ended == stops[-1]
        assert sample.ended or len(sample.tokens) == 6
    assert {True, False} == {sample.ended for sample in flat}
    assert {0, 5} <= {int(sample.tokens[-1]) for sample in flat if sample.ended}


def test_a_sample_does_not_depend_on_batch_mates_batch_size_or_number_of_samples(llama):
    prompts = prompts_of(3, 8, 3, 20, 11, 5)
    together = generate(llama, prompts, k=3, max_new_tokens=12, stop_ids=[STOP], seed=4)
    small = generate(llama, prompts, k=3, max_new_tokens=12, stop_ids=[STOP], seed=4, batch_tokens=1)
    shorter = generate(llama, prompts, k=3, max_new_tokens=5, stop_ids=[STOP], seed=4)
    backwards = generate(llama, prompts[::-1], k=3, max_new_tokens=12, stop_ids=[STOP], seed=4)[::-1]
    for i, prompt in enumerate(prompts):
        (alone,) = generate(llama, [prompt], max_new_tokens=12, stop_ids=[STOP], seed=4)
        assert same(alone, together[i][:1])
        assert same(small[i], together[i]) and same(backwards[i], together[i])
        assert all(np.array_equal(s.tokens, t.tokens[:5]) for s, t in zip(shorter[i], together[i], strict=True))


def test_seeds_and_sample_numbers_differ_and_equal_prompts_agree(llama):
    prompt = prompts_of(4)[0]
    first, again = generate(llama, [prompt, prompt], k=8, max_new_tokens=12, stop_ids=[], seed=0)
    (other,) = generate(llama, [prompt], k=8, max_new_tokens=12, stop_ids=[], seed=1)
    assert same(first, again)
    assert len({tuple(sample.tokens) for sample in [*first, *other]}) == 16


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_frequencies_follow_the_softmax(temperature):
    """Chi-square over all responses of at most two tokens of a five-token model."""
    model = build(transformers.LlamaConfig(**{**HEADS, "vocab_size": 5}), sharp=2.5)
    prompt, draws = np.array([3, 1, 2], np.int32), 8000
    (samples,) = generate(model, [prompt], k=draws, max_new_tokens=2, stop_ids=[STOP], temperature=temperature)
    counts: dict[tuple[int, ...], int] = {}
    for sample in samples:
        key = tuple(sample.tokens.tolist())
        counts[key] = counts.get(key, 0) + 1

    def next_token(*prefix):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt.tolist(), *prefix]])).logits[0, -1]
        return (logits / temperature).softmax(-1).tolist()

    first = next_token()
    expected = {(STOP,): first[STOP]}
    expected |= {(a, b): first[a] * next_token(a)[b] for a, b in itertools.product(range(1, 5), range(5))}
    assert sum(expected.values()) == pytest.approx(1)
    assert counts.keys() <= expected.keys()
    common = {key: p for key, p in expected.items() if draws * p >= 5}
    seen, likely = [counts.get(key, 0) for key in common], [draws * p for p in common.values()]
    seen, likely = np.array([*seen, draws - sum(seen)]), np.array([*likely, draws - sum(likely)])
    df = len(common)
    assert df >= 8
    assert ((seen - likely) ** 2 / np.maximum(likely, 1)).sum() < df + 4 * np.sqrt(2 * df)
    for sample in samples[:20]:
        np.testing.assert_allclose(sample.logps, slow_logps(model, prompt, sample.tokens), atol=1e-6)


def test_greedy_text_is_that_of_transformers(shared_data):
    folder = shared_data / "models" / "stories-260k"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = ["Once upon a time", "One day, a little girl named Lily", "The dog was", "Tom and his mom went to the park"]
    prompts = [np.array(tokenizer(text).input_ids, np.int32) for text in texts]
    ours = generate(model, prompts, k=2, max_new_tokens=40, stop_ids=[tokenizer.eos_token_id], temperature=0)
    for prompt, samples in zip(prompts, ours, strict=True):
        theirs = model.generate(torch.tensor([prompt.tolist()]), do_sample=False, max_new_tokens=40)[0, len(prompt) :]
        assert all(np.array_equal(sample.tokens, theirs.numpy()) for sample in samples)


def test_batch_mates_change_nothing_in_float32_on_a_trained_model(shared_data):
    folder = shared_data / "models" / "stories-260k"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    rng = np.random.default_rng(1)
    prompts = [rng.integers(3, 512, length).astype(np.int32) for length in (2, 5, 9, 30, 31)]
    together = generate(model, prompts, k=2, max_new_tokens=30, stop_ids=[2])
    assert all(
        same(generate(model, [p], k=2, max_new_tokens=30, stop_ids=[2])[0], t)
        for p, t in zip(prompts, together, strict=True)
    )


def test_mode_gradients_and_settings_are_left_as_they_were(llama):
    model = build(FAMILIES["llama"]()).train()
    model.activation_checkpointing_enable()
    model.model.layers[0].eval()
    model.model.embed_tokens.requires_grad_(False)
    model.config.use_cache = False
    modes = [module.training for module in model.modules()]
    needing = [parameter.requires_grad for parameter in model.parameters()]
    (expected,) = generate(llama, prompts_of(4), k=2, max_new_tokens=8, stop_ids=[STOP])
    (drawn,) = generate(model, prompts_of(4), k=2, max_new_tokens=8, stop_ids=[STOP])
    assert same(drawn, expected)
    assert modes == [module.training for module in model.modules()]
    assert needing == [parameter.requires_grad for parameter in model.parameters()]
    assert model.config.use_cache is False and torch.is_grad_enabled()
    model(torch.tensor([[1, 2, 3]])).logits.sum().backward()
    assert model.lm_head.weight.grad is not None


def test_an_error_in_the_model_restores_its_mode():
    model = build(FAMILIES["llama"]()).train()
    with torch.no_grad():
        model.lm_head.weight[3] = torch.nan
    with pytest.raises(NonFiniteError, match="NaN"):
        generate(model, prompts_of(4), max_new_tokens=8, stop_ids=[STOP])
    assert model.training and torch.is_grad_enabled()


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft reads transformers' old name
def test_an_adapter_takes_part():
    import peft

    base = build(FAMILIES["llama"]())
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["q_proj", "down_proj"])).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    (samples,) = generate(model, prompts_of(4), k=3, max_new_tokens=8, stop_ids=[STOP])
    for sample in samples:
        np.testing.assert_allclose(sample.logps, slow_logps(model, prompts_of(4)[0], sample.tokens), atol=1e-6)
        with model.disable_adapter():
            assert np.abs(sample.logps - slow_logps(model, prompts_of(4)[0], sample.tokens)).max() > 1e-3


@pytest.mark.parametrize("family", ["llama", "gpt2 (absolute positions)", "mistral (sliding window)"])
def test_a_model_inside_a_policy_samples_as_before(family):
    model = build(FAMILIES[family]())
    prompts = prompts_of(2, 9, 5)
    before = generate(model, prompts, k=2, max_new_tokens=10, stop_ids=[STOP])
    assert Policy(model).path == "shared"
    within = generate(model, prompts, k=2, max_new_tokens=10, stop_ids=[STOP])
    assert all(same(one, other) for one, other in zip(before, within, strict=True))


def test_stop_tokens_are_eos_those_of_the_generation_config_and_the_end_of_turn(llama):
    words = {"<s>": 0, "</s>": 1, "<end>": 2, "<unk>": 3, "x": 4}
    backend = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="</s>", unk_token="<unk>", additional_special_tokens=["<end>"]
    )
    assert stop_tokens(llama, tokenizer) == [1]
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}<end>{% endfor %}"
    assert stop_tokens(llama, tokenizer) == [1, 2]
    llama.generation_config.eos_token_id = [1, 7]
    assert stop_tokens(llama, tokenizer) == [1, 2, 7]
    llama.generation_config.eos_token_id = None


def test_no_prompts_give_no_samples(llama):
    assert generate(llama, [], max_new_tokens=8, stop_ids=[STOP]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"prompts": prompts_of(3, 0)}, "prompt 1 has no tokens"),
        ({"prompts": prompts_of(60)}, "knows 64 positions"),
    ],
)
def test_bad_requests_are_refused_with_the_value_and_the_remedy(llama, change, message):
    request = {"prompts": prompts_of(3), "max_new_tokens": 8, "stop_ids": [STOP], **change}
    with pytest.raises(ConfigError, match=message):
        generate(llama, request.pop("prompts"), **request)


def test_the_positions_a_model_knows(llama):
    assert context(llama) == 64
    assert context(build(FAMILIES["mamba (recurrent)"]())) is None
