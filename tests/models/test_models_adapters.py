"""The reference's view of a model with adapters: log-probs, states, and nothing left behind."""

import warnings
from contextlib import contextmanager

import pytest
import torch
import transformers
from test_models_load import SIZES, tokenizer

from logratio.config import LoraConfig
from logratio.errors import ModelError, ReferenceChoiceError
from logratio.models import adapters
from logratio.models.adapters import adapter_off, quiet_peft, reference_view
from logratio.models.load import load_model

IDS = torch.arange(3, 19)[None]


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("base")
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, eos_token_id=2)).save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    """A trained adapter with a module saved beside it: LoRA on attention, a whole new final norm, dropout in config."""
    import peft

    path = tmp_path_factory.mktemp("adapter")
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    config = peft.LoraConfig(
        r=2, target_modules=["q_proj", "lm_head"], modules_to_save=["norm"], lora_dropout=0.2, task_type="CAUSAL_LM"
    )
    model.config.tie_word_embeddings = False
    with quiet_peft():
        model = peft.PeftModelForCausalLM(model, config)
    shake(model)
    model.save_pretrained(path, save_embedding_layers=False)
    return path


def shake(model, by=0.3):
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(by * torch.randn(parameter.shape, generator=generator))


def test_a_fresh_adapters_reference_is_the_base_whatever_training_does(base):
    plain = logits(load_model(str(base)).model)
    model = load_model(str(base), lora=LoraConfig(r=2, targets=("q_proj", "lm_head")))
    assert torch.equal(logits(model.model), plain), "B = 0 changes nothing"
    shake(model.model)
    assert not torch.allclose(logits(model.model), plain)
    for choice in ("start", "base"):
        with reference_view(model, choice):
            assert torch.equal(logits(model.model), plain)


def test_a_loaded_adapters_reference_is_its_frozen_copy_and_base_on_request(base, adapter):
    plain = logits(load_model(str(base)).model)
    model = load_model(str(adapter))
    start = logits(model.model)
    assert model.adapter == "loaded" and model.base == str(base)
    assert model.dropouts, "adapter dropout is off and listed"
    assert not torch.allclose(start, plain)
    shake(model.model)
    trained = logits(model.model)
    assert not torch.allclose(trained, start)
    with reference_view(model, "start"):
        assert torch.equal(logits(model.model), start)
    with reference_view(model, "base"):
        assert torch.equal(logits(model.model), plain), "modules saved beside the adapter are off as well"
    assert torch.equal(logits(model.model), trained)


@pytest.mark.parametrize("choice", ["start", "base"])
def test_a_view_leaves_what_is_trainable_as_it_was(adapter, choice):
    model = load_model(str(adapter))
    before = {name: p.requires_grad for name, p in model.model.named_parameters()}
    assert any(before.values()) and not any(flag for name, flag in before.items() if ".reference." in name)
    with pytest.raises(KeyError), reference_view(model, choice):
        raise KeyError
    assert {name: p.requires_grad for name, p in model.model.named_parameters()} == before
    assert model.model.active_adapter == "default"


def test_policy_and_reference_agree_bitwise_at_step_zero(adapter):
    model = load_model(str(adapter))
    policy = logits(model.model.train())
    with reference_view(model, "start"):
        assert torch.equal(logits(model.model), policy)


def test_the_frozen_copy_is_neither_counted_nor_trained(base, adapter):
    model = load_model(str(adapter))
    lora = 2 * 2 * (32 + 32) + 2 * (32 + 97)
    norms = 5 * 32  # PEFT takes every module whose name ends in "norm"
    assert model.trainable == lora + norms
    assert model.parameters == load_model(str(base)).parameters + lora + norms


def test_base_without_an_adapter_is_a_contradiction_that_lists_the_choices(base):
    model = load_model(str(base))
    with pytest.raises(ReferenceChoiceError, match="start .*or reference: PATH"), reference_view(model, "base"):
        pass
    with reference_view(model, "start"):
        pass


def test_an_adapter_on_an_adapter_is_refused(adapter):
    with pytest.raises(ModelError, match="an adapter already"):
        load_model(str(adapter), lora=LoraConfig())


def test_a_pickled_adapter_is_refused(adapter, tmp_path):
    (tmp_path / "adapter_config.json").write_text((adapter / "adapter_config.json").read_text())
    torch.save({}, tmp_path / "adapter_model.bin")
    with pytest.raises(ModelError, match="no adapter_model.safetensors"):
        load_model(str(tmp_path))


def test_the_fingerprint_covers_the_adapter(base, adapter):
    assert load_model(str(adapter)).fingerprint != load_model(str(base)).fingerprint


def test_adapter_off_gives_back_the_adapter(base):
    model = load_model(str(base), lora=LoraConfig(r=2)).model
    shake(model)
    trained = logits(model)
    with adapter_off(model):
        off = logits(model)
    assert not torch.allclose(off, trained) and torch.equal(logits(model), trained)


@pytest.mark.parametrize(("targets", "transposed"), [("all-linear", True), (("c_attn",), True), (("lm_head",), False)])
def test_layers_that_keep_their_weights_transposed_are_told_to_peft(targets, transposed, monkeypatch):
    """GPT-2's. Their warning is let through, so that PEFT would say if it had to correct the value."""
    monkeypatch.setattr(adapters, "quiet_peft", all_but_transposition)
    made = adapters.create(gpt2(), LoraConfig(r=2, targets=targets), seed=0)
    assert made.peft_config["default"].fan_in_fan_out is transposed


@contextmanager
def all_but_transposition():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`", category=UserWarning)
        yield


def gpt2():
    torch.manual_seed(0)
    sizes = dict(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2)
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).eval()


@pytest.mark.parametrize("targets", [("lm_head",), ("c_attn", "lm_head")])
def test_an_adapter_on_a_tied_head_and_on_both_kinds_of_layer_says_nothing(targets):
    model = gpt2()
    plain = logits(model)
    made = adapters.create(model, LoraConfig(r=2, targets=targets), seed=0)
    assert torch.equal(logits(made), plain)
    shake(made)
    assert not torch.allclose(logits(made), plain)


def test_a_target_that_is_no_layer_is_refused_with_those_that_are():
    with pytest.raises(ModelError, match="its linear modules are c_attn, c_fc, c_proj, lm_head"):
        adapters.create(gpt2(), LoraConfig(r=2, targets=("q_proj",)), seed=0)
