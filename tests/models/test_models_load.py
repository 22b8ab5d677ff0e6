"""Loading: names and folders, refusals, dropout, fingerprints, adapters."""

import json
import os
import socket
import time

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from logratio import files
from logratio.config import LoraConfig
from logratio.errors import ModelError
from logratio.files import sha256_file
from logratio.models import load as loading
from logratio.models.load import (
    known_positions,
    load_model,
    load_tokenizer,
    loaded,
    split_revision,
    stored_fingerprint,
)
from logratio.models.save import save_model

SIZES = dict(vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)


def tokenizer(eos="</s>"):
    from tokenizers import Tokenizer, models

    words = {"<pad>": 0, "<s>": 1, "</s>": 2} | {f"w{i}": i for i in range(3, 97)}
    raw = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=eos, pad_token="<pad>")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small Llama in bfloat16, with attention dropout in its config."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model")
    config = transformers.LlamaConfig(**SIZES, num_key_value_heads=2, attention_dropout=0.1, eos_token_id=2)
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


def test_a_folder_loads_in_float32_and_remembers_its_own_dtype(folder):
    model = load_model(str(folder))
    assert model.dtype == torch.bfloat16 and model.adapter == "none" and model.name == str(folder)
    assert {p.dtype for p in model.model.parameters()} == {torch.float32}
    stored = load_file(folder / "model.safetensors")
    assert model.parameters == model.trainable == sum(weight.numel() for weight in stored.values())
    for name, weight in stored.items():
        assert torch.equal(model.model.state_dict()[name], weight.float())


def test_dropout_is_switched_off_everywhere_and_listed(folder):
    model = load_model(str(folder))
    assert model.dropouts == {"config.attention_dropout": 0.1, "model.layers.*.self_attn.attention_dropout": 0.1}
    assert model.model.model.layers[1].self_attn.attention_dropout == 0.0


def test_the_fingerprint_is_of_content_not_of_place(folder, tmp_path):
    import shutil

    first = load_model(str(folder)).fingerprint
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert load_model(str(copy)).fingerprint == first
    weights = load_file(copy / "model.safetensors")
    weights["model.norm.weight"][3] += 0.5
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert load_model(str(copy)).fingerprint != first
    assert load_model(str(folder)).fingerprint == first


def test_a_models_file_is_read_once_to_be_named_and_not_loaded_for_it(folder, tmp_path, monkeypatch):
    """A changed file of the same size is read again."""
    import shutil

    copy, read = shutil.copytree(folder, tmp_path / "copy"), []
    weights = copy / "model.safetensors"
    for path in copy.iterdir():
        os.utime(path, (1e9, 1e9))
    monkeypatch.setattr(files, "sha256_file", lambda path: read.append(path.name) or sha256_file(path))
    monkeypatch.setattr(loading, "_whole", lambda *_: pytest.fail("it was loaded to be named"))
    first = stored_fingerprint(str(copy))
    assert stored_fingerprint(str(copy)) == first and sorted(read) == ["config.json", "model.safetensors"]
    body, seen = bytearray(weights.read_bytes()), len(read)
    body[-1] ^= 1
    weights.write_bytes(body)
    os.utime(weights, (1e9, 1e9))
    assert stored_fingerprint(str(copy)) != first and read[seen:] == ["model.safetensors"]


@pytest.mark.parametrize("kind", ["whole", "adapter"])
def test_the_stored_fingerprint_is_that_of_the_loaded_model(folder, tmp_path, kind):
    name = str(folder)
    if kind == "adapter":
        name = str(save_model(load_model(name, lora=LoraConfig(r=2)), load_tokenizer(name), tmp_path / "adapter"))
    assert stored_fingerprint(name) == load_model(name).fingerprint


def test_a_model_in_memory_is_hashed_by_its_weights(folder):
    first, again = (load_model(str(folder)).model for _ in range(2))
    known = loaded(first, tokenizer()).fingerprint
    assert loaded(again, tokenizer()).fingerprint == known
    with torch.no_grad():
        again.model.norm.weight[0] += 1e-3
    assert loaded(again, tokenizer()).fingerprint != known


@pytest.mark.parametrize(
    "name, revision", [("org/model", None), ("org/model@v1.0", "v1.0"), ("org/model@refs/pr/3", "refs/pr/3")]
)
def test_a_revision_stands_behind_an_at_sign(name, revision):
    assert split_revision(name) == ("org/model", revision)


def test_a_missing_model_names_what_was_tried_and_the_remedy(tmp_path):
    for load in (load_model, load_tokenizer):
        with pytest.raises(ModelError, match=r'"no/such-model".*no folder.*then the hub.*config\.json'):
            load("no/such-model")
    with pytest.raises(ModelError, match=f"folder {tmp_path}"):
        load_model(str(tmp_path))


def test_pickled_weights_are_refused(folder, tmp_path):
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    torch.save(load_file(folder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights and remote code are never loaded"):
        load_model(str(tmp_path))


def test_a_cut_weight_file_is_one_clear_error(folder, tmp_path):
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    whole = (folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="could not be loaded"):
        load_model(str(tmp_path))


def test_remote_code_is_never_run(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text()) | {
        "model_type": "made-up",
        "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text("raise SystemExit('remote code ran')")
    with pytest.raises(ModelError, match="could not be loaded"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    "config, name", [(transformers.LlavaConfig, "multimodal"), (transformers.T5Config, "encoder-decoder")]
)
def test_models_of_another_kind_are_refused_by_name(config, name, tmp_path):
    config().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=f"{name}.*{config.model_type}"):
        load_model(str(tmp_path))


def test_a_tokenizer_without_an_end_is_refused(tmp_path):
    tokenizer(eos=None).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no end-of-sequence token"):
        load_tokenizer(str(tmp_path))


def test_lora_freezes_the_base_and_trains_in_float32(folder):
    model = load_model(str(folder), dtype=torch.bfloat16, lora=LoraConfig(r=2, targets=("q_proj", "lm_head")))
    assert model.adapter == "fresh"
    for name, parameter in model.model.named_parameters():
        assert parameter.requires_grad == ("lora_" in name)
        assert parameter.dtype == (torch.float32 if "lora_" in name else torch.bfloat16)
    assert model.trainable == 2 * 2 * (32 + 32) + 2 * (32 + 97)


def test_a_fresh_adapter_comes_from_its_seed_and_leaves_the_callers_randomness_alone(folder):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (load_model(str(folder), lora=LoraConfig(r=2), seed=s).model for s in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    (a, b, c) = ({n: p for n, p in m.named_parameters() if "lora_A" in n} for m in (first, again, other))
    assert all(torch.equal(a[n], b[n]) and not torch.equal(a[n], c[n]) for n in a)


def test_a_target_that_is_no_module_is_named(folder):
    with pytest.raises(ModelError, match=r"no module of this model; its linear modules are .*q_proj"):
        load_model(str(folder), lora=LoraConfig(targets=("qq_proj",)))


def test_adapter_dropout_is_refused_by_the_recipe():
    with pytest.raises(ValueError, match="dropout"):
        LoraConfig(dropout=0.1)


def test_real_models_load(shared_data):
    for name, parameters in (("stories-260k", 260_032), ("stories-char-936k", 936_448), ("reviews-7m", 6_917_376)):
        model = load_model(str(shared_data / "models" / name))
        assert model.parameters == parameters and not model.dropouts


def test_an_adapter_in_memory_may_be_described_again(folder):
    """Evaluated twice, or trained after an evaluation: a frozen copy of an earlier call is no part of the model."""
    import peft

    from logratio.models.adapters import REFERENCE, quiet_peft

    with quiet_peft():
        model = peft.get_peft_model(load_model(str(folder)).model, peft.LoraConfig(r=2, target_modules=["q_proj"]))
        known = loaded(model, tokenizer())
        assert REFERENCE not in model.peft_config
        held = loaded(model, tokenizer(), hold=True)
        assert REFERENCE in model.peft_config
        again = loaded(model, tokenizer(), hold=True)
    assert known.fingerprint == held.fingerprint == again.fingerprint


def test_the_same_weights_with_another_window_are_another_distribution():
    def fingerprint(**changes):
        torch.manual_seed(0)
        config = transformers.MistralConfig(**SIZES, num_key_value_heads=2, **changes)
        return loaded(transformers.MistralForCausalLM(config), tokenizer()).fingerprint

    assert fingerprint(sliding_window=4) != fingerprint(sliding_window=None)
    assert fingerprint(sliding_window=4) == fingerprint(sliding_window=4, use_cache=False)


def test_weights_are_hashed_by_shape_too_and_a_single_number_is_a_weight():
    from logratio.models.fingerprint import of_weights

    def module(*shape):
        made = torch.nn.Module()
        made.weight = torch.nn.Parameter(torch.zeros(shape))
        return made

    assert len({of_weights(module(*shape)) for shape in ((), (1,), (2, 3), (3, 2))}) == 4


@pytest.mark.parametrize("load", [load_model, load_tokenizer, known_positions])
def test_without_a_network_a_name_that_is_not_here_is_answered_at_once(load, monkeypatch):
    with socket.socket() as unused:  # bound and not listening: every connection is refused
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        for proxy in ("http_proxy", "all_proxy"):
            monkeypatch.delenv(proxy, raising=False)
            monkeypatch.delenv(proxy.upper(), raising=False)
        began = time.monotonic()
        with pytest.raises(ModelError, match="the hub cannot be reached from here, and its cache"):
            load("no/such-model")
    assert time.monotonic() - began < 5  # the hub's own client would go on for 25 s a file
