"""What a recipe says about the model is done to the model, whether it comes by name or in memory."""

import pytest
import small_run
import torch
from transformers import AutoModelForCausalLM

from logratio.config import RunConfig
from logratio.errors import ConfigError, RunError
from logratio.logps.policy import Policy
from logratio.models.load import load_model, load_tokenizer
from logratio.train.assemble import _require_possible
from logratio.train.distributed import World
from logratio.train.reference import live_reference


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    return small_run.world(tmp_path_factory.mktemp("setup"), n=24)


def in_memory(arguments, dtype=torch.float32):
    model = AutoModelForCausalLM.from_pretrained(arguments["model"], dtype=dtype)
    return {**arguments, "model": model, "tokenizer": load_tokenizer(arguments["model"])}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_checkpointing_computes_every_block_a_second_time(arguments, tmp_path, checkpointing):
    """In evaluation mode transformers keeps all activations, whatever the switch says."""
    own, passes = in_memory(arguments), []
    block = own["model"].model.layers[0].self_attn
    block.register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    run = small_run.run(**own, output=tmp_path / "run", **{"train.checkpointing": checkpointing, "eval.samples": 0})
    assert sum(passes) == run.step * (1 + checkpointing)


def test_a_model_in_memory_is_trained_in_the_precision_that_is_printed(arguments, tmp_path):
    """transformers hands out bfloat16 where the files hold it; that is the dtype of model/, not of training."""
    lines, own = [], in_memory(arguments, torch.bfloat16)

    def listen(event):
        lines.extend(event.data["lines"] if event.kind == "open" else [])

    run = small_run.run(**own, output=tmp_path / "run", on_event=listen, **{"train.precision": "fp32"})
    assert any(line.endswith("trained; float32") for line in lines)
    assert {weight.dtype for weight in own["model"].parameters()} == {torch.float32}
    assert AutoModelForCausalLM.from_pretrained(run.model).dtype == torch.bfloat16


@pytest.mark.parametrize("reference", ["start", "path"])
def test_a_live_reference_has_the_precision_of_the_policy(arguments, reference):
    config = RunConfig(
        model=arguments["model"], data="x", reference="start" if reference == "start" else arguments["model"]
    )
    loaded = load_model(arguments["model"])
    for bf16, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        with live_reference(config, loaded, Policy(loaded.model), bf16=bf16) as live:
            assert {weight.dtype for weight in live.parameters()} == {dtype}
            assert not any(weight.requires_grad for weight in live.parameters())


@pytest.mark.parametrize(
    ("recipe", "size", "said"),
    [
        ({"weights": "bf16", "precision": "fp32"}, 1, "needs train.precision bf16 and one process"),
        ({"weights": "bf16", "precision": "bf16"}, 2, "needs train.precision bf16 and one process"),
        ({"optimizer": "adamw_8bit"}, 2, "there are 2 processes: its kernels do not know sharded weights"),
    ],
)
def test_what_the_processes_cannot_do_is_refused_before_a_model_is_loaded(recipe, size, said, tmp_path):
    config = RunConfig(model=str(tmp_path / "absent"), data="absent.jsonl", train=recipe)
    world = World(0, size, "none" if size == 1 else "shard", torch.device("cpu"))
    with pytest.raises(ConfigError, match=said):
        _require_possible(config, world)


def test_processes_that_cannot_meet_are_told_how_to_start(monkeypatch, arguments, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(RunError, match=r"WORLD_SIZE is 2, .*MASTER_ADDR.*: start them with `torchrun"):
        small_run.run(**arguments, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()
