"""What a recipe says about the model is done to the model, whether it comes by name or in memory."""

import json
import os
import signal

import pytest
import small_run
import torch
from transformers import AutoModelForCausalLM

from logratio import evaluate
from logratio.config import RunConfig
from logratio.errors import ConfigError, DataError, RunError
from logratio.logps.policy import Policy
from logratio.models.load import load_model, load_tokenizer
from logratio.train.api import train
from logratio.train.assemble import _require_possible
from logratio.train.distributed import World
from logratio.train.recipe import resolve
from logratio.train.reference import live_reference
from logratio.train.setup import Inputs, data_set


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


@pytest.mark.parametrize(("objective", "known"), [("dpo", "eval/loss, .*eval/accuracy"), ("sft", "eval/nll_per_token")])
def test_a_best_by_what_is_not_measured_is_refused_before_a_model_is_loaded(arguments, objective, known):
    resolved = resolve({**arguments, "objective": objective, "keep.best": "eval/nonsense"})
    with pytest.raises(ConfigError, match=f"keep.best is eval/nonsense, .*; choose one of .*{known}"):
        data_set(resolved, load_tokenizer(arguments["model"]), Inputs(), "2024-01-01")


def test_processes_that_cannot_meet_are_told_how_to_start(monkeypatch, arguments, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(RunError, match=r"WORLD_SIZE is 2, .*MASTER_ADDR.*: start them with `torchrun"):
        small_run.run(**arguments, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def absolute(folder):
    """A random GPT-2, which has no embedding for a position beyond its 24th."""
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = small_run.word_tokenizer()
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 24, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_rows_longer_than_the_model_knows_positions_are_dropped_and_said(tmp_path, objective):
    """KTO also pairs every prompt with another's response, which must not lead beyond them either."""
    model, lines = absolute(tmp_path / "model"), []
    rows = small_run.pairs(30) if objective == "dpo" else small_run.labelled(30)
    long = {
        "prompt": " the" * 20,
        "chosen": " good" * 9,
        "rejected": " bad" * 9,
        "completion": " so" * 9,
        "label": True,
    }
    near = {**long, "prompt": " the" * 18, "chosen": " good", "rejected": " bad", "completion": " so"}
    added = [{**row, "prompt": f"{row['prompt']} {word}"} for row in (long, near) for word in ("a", "I")]
    data = [*rows, *({name: row[name] for name in rows[0]} for row in added)]

    def listen(event):
        lines.extend(event.data["lines"] if event.kind == "open" else [])

    own = {"model": model, "data": data, "objective": objective, "on_event": listen}
    recipe = {name: value for name, value in small_run.RECIPE.items() if name != "tokens.max_length"}
    run = train(**own, output=tmp_path / "run", **{**recipe, "rows.max_bad_rows": 1, "eval.max_new_tokens": 3})
    assert run.status == "finished"
    assert any(line.startswith("2/34") and "exceed 24 tokens" in line for line in lines)
    assert "max_length: 24" in (run.directory / "config.yaml").read_text()
    if objective == "dpo":
        assert evaluate(model, data=data, samples=0)["accuracy"]["n"] == 0
    with pytest.raises(ConfigError, match="tokens.max_length is 64, but .* knows 24 positions"):
        train(**own, output=tmp_path / "other", **small_run.RECIPE)


def test_samples_are_of_different_prompts(tmp_path):
    """Several pairs of one prompt would give one sample several times: it depends on the prompt alone."""
    arguments = small_run.world(tmp_path, rows=lambda n: [row for row in small_run.pairs(n // 3) for _ in range(3)])
    run = small_run.run(**arguments, output=tmp_path / "run", **{"eval.samples": 3})
    rows = [json.loads(line) for line in (run.directory / "samples.jsonl").read_text().splitlines()]
    assert len({row["prompt"] for row in rows if row["step"] == 0}) == 3


def test_part_of_the_evaluation_data_is_drawn_from_all_of_it_and_alike_for_every_seed(arguments):
    rows, tokenizer = small_run.pairs(200), load_tokenizer(arguments["model"])
    found = []
    for seed in (0, 1):
        resolved = resolve({**arguments, "eval.max_groups": 20, "train.seed": seed})
        data = data_set(resolved, tokenizer, Inputs(eval_data=rows), "2024-01-01")
        found.append([group.row for group in data.evaluation])
    assert found[0] == found[1] == sorted(found[0]) and len(set(found[0])) == 20
    assert found[0][0] < 50 and found[0][-1] >= 150


def opened(data, **recipe):
    """What a run says when it opens; it is stopped before its first step."""
    lines = []

    def listen(event):
        lines.extend(event.data["lines"] if event.kind == "open" else [])
        if event.kind == "train":
            os.kill(os.getpid(), signal.SIGTERM)

    small_run.run(data=data, on_event=listen, **recipe)
    return lines


@pytest.mark.parametrize(
    ("rows", "changes", "said"),
    [
        (
            [{"text": f" the film was {w} good"} for w in small_run.WORDS],
            {},
            "whole prompts are held out, and these rows have none",
        ),
        ([{"prompt": " the", "completion": f" {w}"} for w in small_run.WORDS], {}, "and these rows share one"),
        (
            [{"prompt": f" {p}", "completion": f" {w}"} for w in small_run.WORDS for p in ("a", "the")],
            {"eval.max_groups": 3},
            "each prompt has more groups than eval.max_groups 3",
        ),
    ],
)
def test_where_nothing_is_held_out_it_says_why_and_what_to_do(arguments, tmp_path, rows, changes, said):
    lines = opened(rows, model=arguments["model"], objective="sft", output=tmp_path / "run", **changes)
    (line,) = [line for line in lines if line.startswith("nothing is evaluated in the run")]
    assert said in line and line.endswith("name rows to evaluate on with --eval-data")
    assert any(line.startswith("steps: ") and line.endswith(" 0 held out") for line in lines)


@pytest.mark.parametrize(("bins", "said"), [(4, True), (40, False)])
def test_a_budget_below_every_group_is_said(arguments, tmp_path, bins, said):
    lines = opened(small_run.pairs(24), model=arguments["model"], output=tmp_path / "run", **{"train.bin_tokens": bins})
    told = [line for line in lines if line.startswith("bins: ")]
    assert bool(told) == said and all("longer than train.bin_tokens 4, so each has a bin of its own" in t for t in told)
    assert not any(line.startswith("nothing is evaluated") for line in lines)


def test_data_without_margins_is_refused_by_an_objective_that_reads_them(arguments):
    """Every offset would be 0, and the run plain DPO under another name."""
    rows, tokenizer = small_run.pairs(20), load_tokenizer(arguments["model"])
    resolved = resolve({**arguments, "objective": "odpo"})
    with pytest.raises(DataError, match="none of 20 pairs says how strong its preference is, and odpo reads that"):
        data_set(resolved, tokenizer, Inputs(data=rows), "2024-01-01")
    scored = [{"prompt": r["prompt"], "responses": [r["chosen"], r["rejected"]], "scores": [3.0, 1.0]} for r in rows]
    for known in ([row | {"margin": 2.0} for row in rows], scored):
        data = data_set(resolved, tokenizer, Inputs(data=known), "2024-01-01")
        assert {float(group.columns.edge["margin"][0]) for group in data.groups} == {2.0}


def test_tied_pairs_are_trained_on_by_an_objective_that_learns_from_ties_alone(arguments):
    rows, tokenizer = small_run.pairs(24), load_tokenizer(arguments["model"])
    judged = [
        {
            "conversation_a": [
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["chosen"]},
            ],
            "conversation_b": [
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["rejected"]},
            ],
            "winner": ("model_a", "tie")[number % 2],
        }
        for number, row in enumerate(rows)
    ]
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    kept = {}
    for name in ("dpo", "dpo_rk", "dpo_d"):
        resolved = resolve({**arguments, "objective": name})
        kept[name] = [
            group.columns.edge["tie"][0]
            for group in data_set(resolved, tokenizer, Inputs(data=judged), "2024-01-01").groups
        ]
    assert (len(kept["dpo"]), sum(kept["dpo"])) == (12, 0)
    assert (len(kept["dpo_rk"]), sum(kept["dpo_rk"])) == (24, 12) == (len(kept["dpo_d"]), sum(kept["dpo_d"]))
