"""A saved model is the one that was trained: same logits, source's dtype, tied or not, adapter or whole."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time

import peft
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from logratio.config import LoraConfig
from logratio.errors import LogratioError, ModelError, RunError
from logratio.models import fingerprint
from logratio.models.load import load_model, loaded
from logratio.models.merge import export, merged
from logratio.models.save import PROVENANCE, save_model

# PEFT speaks of GPT-2's transposed layers and of adapters on tied weights, which are what is tested.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set"),
    pytest.mark.filterwarnings("ignore:Model (with|has) `tie_word_embeddings"),
]

WORDS = ["<pad>", "<s>", "</s>", "<unk>", "a", "good", "film", "with", "bad", "music", ".", "and"]
IDS = torch.tensor([[1, 4, 5, 6, 7, 8, 9, 10, 2]])
TEMPLATE = "{% for m in messages %}{{ m['content'] }}</s>{% endfor %}"


def tokenizer():
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    made.chat_template = TEMPLATE
    return made


def llama(tied):
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config)


def gpt2():
    config = GPT2Config(vocab_size=len(WORDS), n_embd=16, n_layer=2, n_head=2, n_positions=32, resid_pdrop=0.1)
    return GPT2LMHeadModel(config)


MAKERS = {"llama": lambda: llama(False), "llama-tied": lambda: llama(True), "gpt2-tied": gpt2}


@pytest.fixture(params=sorted(MAKERS))
def source(request, tmp_path):
    """A bfloat16 checkpoint on disk, with a generation config that transformers would refuse to write."""
    return write_source(MAKERS[request.param](), tmp_path / "source")


def write_source(model, folder, dtype=torch.bfloat16):
    torch.manual_seed(3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.to(dtype).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"temperature": 0.7, "top_p": 0.9, "do_sample": False}))
    return folder


def disturb(model, seed=5):
    """Stand in for training: move every trainable weight."""
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=stream))


def logits(model):
    with torch.no_grad():
        return model.eval()(IDS).logits.double()


def test_a_whole_model_comes_back_in_its_sources_dtype_with_the_trained_weights_rounded_once(source, tmp_path):
    start = load_model(str(source))
    disturb(start.model)
    save_model(start, start.tokenizer, tmp_path / "model")

    back = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert back.dtype == torch.bfloat16
    for name, weight in start.model.state_dict().items():
        assert back.state_dict()[name].equal(weight.bfloat16()), name
    assert start.model.dtype == torch.float32 and start.model.config.dtype in (torch.float32, torch.bfloat16)


def test_tokenizer_template_generation_config_and_dropouts_are_the_sources(source, tmp_path):
    start = load_model(str(source))
    save_model(start, start.tokenizer, tmp_path / "model")

    was, now = AutoTokenizer.from_pretrained(source), AutoTokenizer.from_pretrained(tmp_path / "model")
    assert now.chat_template == TEMPLATE and now("a good film .").input_ids == was("a good film .").input_ids
    generation = json.loads((tmp_path / "model" / "generation_config.json").read_text())
    assert (generation["temperature"], generation["top_p"]) == (0.7, 0.9)
    configs = [json.loads((folder / "config.json").read_text()) for folder in (source, tmp_path / "model")]
    assert configs[0] == configs[1]
    assert all(getattr(start.model.config, name, 0.0) == 0.0 for name in ("resid_pdrop", "attention_dropout"))


def test_a_tied_head_is_written_once_and_an_untied_one_by_itself(source, tmp_path):
    start = load_model(str(source))
    save_model(start, start.tokenizer, tmp_path / "model")
    names = set(load_file(tmp_path / "model" / "model.safetensors"))
    assert ("lm_head.weight" in names) == (not start.model.config.tie_word_embeddings)
    back = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    shared = back.get_output_embeddings().weight is back.get_input_embeddings().weight
    assert shared == start.model.config.tie_word_embeddings


def test_gathered_weights_take_the_place_of_the_models_own(source, tmp_path):
    start = load_model(str(source))
    gathered = {name: torch.full_like(p, 0.25) for name, p in start.model.named_parameters()}
    before = {name: weight.clone() for name, weight in start.model.state_dict().items()}
    save_model(start, start.tokenizer, tmp_path / "model", state=gathered)

    back = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert all(parameter.eq(0.25).all() for parameter in back.parameters())
    assert all(weight.equal(before[name]) for name, weight in start.model.state_dict().items())
    with pytest.raises(ValueError, match="not in the model"):
        save_model(start, start.tokenizer, tmp_path / "other", state={"no.such.weight": torch.zeros(1)})
    assert not (tmp_path / "other").exists()


def test_an_adapter_names_its_base_and_loads_with_plain_transformers(source, tmp_path):
    start = load_model(str(source), lora=LoraConfig(r=4))
    disturb(start.model)
    save_model(start, start.tokenizer, tmp_path / "model")

    config = json.loads((tmp_path / "model" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(source.resolve())
    origin = json.loads((tmp_path / "model" / PROVENANCE).read_text())
    assert origin["kind"] == "adapter"
    assert json.loads((tmp_path / "model" / "generation_config.json").read_text())["temperature"] == 0.7
    assert origin["base"]["fingerprint"] == fingerprint.of_folders([source]) == start.fingerprint
    saved = load_file(tmp_path / "model" / "adapter_model.safetensors")
    assert saved and all("lora_" in name and weight.dtype == torch.float32 for name, weight in saved.items())
    back = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    torch.testing.assert_close(logits(back), logits(start.model), atol=1e-6, rtol=0)


def test_a_loaded_adapter_is_saved_without_the_copy_held_as_reference(tmp_path):
    source = write_source(llama(False), tmp_path / "source")
    first = load_model(str(source), lora=LoraConfig(r=4))
    disturb(first.model)
    save_model(first, first.tokenizer, tmp_path / "first")
    second = load_model(str(tmp_path / "first"))
    disturb(second.model, seed=6)
    save_model(second, second.tokenizer, tmp_path / "second")

    back = load_model(str(tmp_path / "second"))
    torch.testing.assert_close(logits(back.model), logits(second.model), atol=1e-6, rtol=0)
    assert json.loads((tmp_path / "second" / PROVENANCE).read_text())["base"]["name"] == str(source.resolve())


def test_an_adapter_under_another_name_lands_in_the_folder_itself(tmp_path):
    source = write_source(llama(False), tmp_path / "source", torch.float32)
    model = AutoModelForCausalLM.from_pretrained(source)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    start = loaded(peft.get_peft_model(model, config, adapter_name="mine"), tokenizer(), str(source))
    disturb(start.model)
    save_model(start, start.tokenizer, tmp_path / "model")
    back = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(logits(back), logits(start.model), atol=1e-6, rtol=0)


ADAPTERS = {
    "attention": {"target_modules": ["q_proj", "v_proj", "c_attn"]},
    "head": {"target_modules": ["q_proj", "c_attn", "lm_head"]},
    "embeddings": {"target_modules": ["embed_tokens", "wte"]},
    "whole head": {"target_modules": ["v_proj", "c_attn"], "modules_to_save": ["lm_head"]},
}


@pytest.mark.parametrize(
    ("maker", "kind"),
    [("llama", "head"), *((maker, kind) for maker in ("llama-tied", "gpt2-tied") for kind in ADAPTERS)],
)
def test_merged_logits_are_those_of_the_adapter(maker, kind, tmp_path):
    source = write_source(MAKERS[maker](), tmp_path / "source", torch.float32)
    model = AutoModelForCausalLM.from_pretrained(source)
    present = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    settings = {**ADAPTERS[kind]}
    settings["target_modules"] = sorted(present & set(settings["target_modules"]))
    config = peft.LoraConfig(r=3, lora_alpha=6, task_type="CAUSAL_LM", fan_in_fan_out="gpt2" in maker, **settings)
    start = loaded(peft.get_peft_model(model, config), tokenizer(), str(source))
    disturb(start.model)
    expected = logits(start.model)
    assert (expected - logits(AutoModelForCausalLM.from_pretrained(source))).abs().max() > 0.01
    save_model(start, start.tokenizer, tmp_path / "adapter")

    export(tmp_path / "adapter", tmp_path / "merged", merge=True)
    back = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(back), expected, atol=1e-5, rtol=0)
    assert back.config.tie_word_embeddings == ("tied" in maker and kind == "attention")
    origin = json.loads((tmp_path / "merged" / PROVENANCE).read_text())
    assert origin["kind"] == "model" and origin["base"]["name"] == str(source.resolve())


def test_a_merged_model_is_rounded_to_its_bases_dtype_after_the_sum(tmp_path):
    source = write_source(llama(False), tmp_path / "source")
    start = load_model(str(source), lora=LoraConfig(r=4, targets=("q_proj",)))
    disturb(start.model)
    layer = start.model.get_base_model().model.layers[0].self_attn.q_proj
    delta = layer.scaling["default"] * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    expected = (layer.base_layer.weight + delta).detach().bfloat16()
    save_model(start, start.tokenizer, tmp_path / "adapter")
    export(tmp_path / "adapter", tmp_path / "merged", merge=True)
    back = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert back.dtype == torch.bfloat16
    torch.testing.assert_close(back.model.layers[0].self_attn.q_proj.weight, expected, atol=0, rtol=2**-7)


def test_export_refuses_another_base_a_whole_model_and_a_used_folder(tmp_path):
    source = write_source(llama(False), tmp_path / "source")
    start = load_model(str(source), lora=LoraConfig(r=4))
    save_model(start, start.tokenizer, tmp_path / "run" / "model")
    export(tmp_path / "run", tmp_path / "copy", merge=False)
    assert (tmp_path / "copy" / "adapter_config.json").is_file()

    with pytest.raises(RunError, match="not empty"):
        export(tmp_path / "run", tmp_path / "copy", merge=True)
    with pytest.raises(ModelError, match="nothing is there to merge"):
        export(source, tmp_path / "new", merge=True)
    with pytest.raises(RunError, match="holds no model"):
        export(tmp_path, tmp_path / "new", merge=False)
    write_source(llama(True), source)
    with pytest.raises(ModelError, match="is not the one that this adapter was trained on"):
        export(tmp_path / "run", tmp_path / "new", merge=True)
    assert not (tmp_path / "new").exists()


def test_merging_in_memory_leaves_no_adapter(tmp_path):
    source = write_source(llama(True), tmp_path / "source", torch.float32)
    start = load_model(str(source), lora=LoraConfig(r=4))
    disturb(start.model)
    expected = logits(start.model)
    whole = merged(start)
    assert whole.adapter == "none" and whole.fingerprint != start.fingerprint
    torch.testing.assert_close(logits(whole.model), expected, atol=1e-5, rtol=0)


def test_an_export_that_fails_half_way_leaves_nothing(tmp_path):
    source = write_source(llama(True), tmp_path / "source")
    (source / "unreadable").symlink_to(tmp_path / "absent")
    with pytest.raises(LogratioError, match="copy could not be written .* nothing before it is lost"):
        export(source, tmp_path / "copy", merge=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


class FullDisk:
    """A tokenizer whose disk is full."""

    def save_pretrained(self, folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_failed_save_leaves_the_earlier_model_and_nothing_else(tmp_path):
    start = load_model(str(write_source(llama(False), tmp_path / "source")))
    to = tmp_path / "run" / "model"
    save_model(start, start.tokenizer, to)
    before = (to / "model.safetensors").read_bytes()
    disturb(start.model)
    with pytest.raises(LogratioError, match="No space left"):
        save_model(dataclasses.replace(start), FullDisk(), to)
    assert (to / "model.safetensors").read_bytes() == before
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["model"]


LOOP = """
import sys, torch
from pathlib import Path
from logratio.models.load import load_model
from logratio.models.save import save_model
torch.set_num_threads(1)
start = load_model(sys.argv[1])
print("ready", flush=True)
while True:
    for value in (0.25, 0.5):
        state = {name: torch.full_like(p, value) for name, p in start.model.named_parameters()}
        save_model(start, start.tokenizer, Path(sys.argv[2]), state=state)
"""


@pytest.mark.slow
def test_a_model_folder_is_whole_whenever_the_process_is_killed(tmp_path):
    source = write_source(llama(False), tmp_path / "source")
    for turn in range(4):
        to = tmp_path / f"run-{turn}" / "model"
        command = [sys.executable, "-c", LOOP, str(source), str(to)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "ready\n"
        while not to.exists():
            time.sleep(0.01)
        time.sleep(0.05 + 0.037 * turn)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        whole = to if to.exists() else next(to.parent.glob(".model.*.old"))
        back = AutoModelForCausalLM.from_pretrained(whole)
        values = {float(value) for parameter in back.parameters() for value in parameter.detach().unique()}
        assert values in ({0.25}, {0.5})
        assert AutoTokenizer.from_pretrained(whole).chat_template == TEMPLATE
