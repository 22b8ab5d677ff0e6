"""What breaks a run is told in one sentence, and costs nothing already done."""

import ast
import multiprocessing
import re
import resource
from pathlib import Path

import pytest
import small_run
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from logratio.errors import LogratioError, MemoryBudgetError, NonFiniteError
from logratio.models.build import SPECIAL, build_llama, save_built
from logratio.models.load import load_tokenizer
from logratio.train.memory import within_memory
from worlds import random_groups

SOURCE = Path(__file__).parents[2] / "src"
SPAWN = multiprocessing.get_context("spawn")


def with_nan(folder):
    """Put one weight that is no number into the model of a small run."""
    file = folder / "start" / "model.safetensors"
    weights = load_file(file)
    weights["model.layers.1.mlp.up_proj.weight"][3, 2] = torch.nan
    save_file(weights, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("objective", "where"),
    [
        ({"objective": "dpo"}, "reference pass: reference log-prob is not finite, data rows [0, 1, 2"),
        ({"objective": "sft"}, "evaluation after 0 steps: policy log-prob is not finite, data rows ["),
        (
            {"objective": "sft", "eval.holdout": 0},
            "step 1: policy log-prob is not finite in torch.float32, data rows [",
        ),
    ],
)
def test_a_weight_that_is_no_number_names_place_rows_and_tensor(tmp_path, objective, where):
    arguments = small_run.world(tmp_path)
    with_nan(tmp_path)
    with pytest.raises(NonFiniteError) as caught:
        small_run.run(**arguments, output=str(tmp_path / "run"), cache=tmp_path / "cache", **objective)
    assert str(caught.value).startswith(where)
    assert caught.value.exit_code == 2
    assert not list((tmp_path / "cache").rglob("reference/*/*.shard"))  # what is no number is not kept


def test_a_rate_that_blows_up_stops_before_such_weights_are_saved(tmp_path):
    arguments = {**small_run.world(tmp_path), "output": str(tmp_path / "run"), "cache": tmp_path / "cache"}
    with pytest.raises(
        NonFiniteError, match=r"evaluation after 1 steps: policy log-prob is not finite.*lower train.lr"
    ):
        small_run.run(**arguments, **{"train.lr": 1e38, "train.warmup": 0, "every.eval": 0.1})
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_gradient_that_is_no_number_names_step_rows_and_weight_before_any_update(tmp_path):
    """Finite log-probs with an infinite derivative: planted in one weight of a model in memory."""
    arguments = small_run.world(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(arguments["model"])
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    model.model.layers[1].mlp.up_proj.weight.register_hook(lambda gradient: gradient * torch.inf)
    own = {**arguments, "model": model, "tokenizer": load_tokenizer(arguments["model"])}
    said = r"is not finite, data rows \[\d+, .*no weight was updated"
    with pytest.raises(NonFiniteError, match=f"step 1: the gradient of model.layers.1.mlp.up_proj.weight {said}"):
        small_run.run(**own, output=str(tmp_path / "run"))
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


def test_moments_that_do_not_fit_are_told_as_memory_too(tmp_path, monkeypatch):
    """They are made in the first update, after the gradient has fitted."""

    def refuse(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    arguments = small_run.world(tmp_path)
    monkeypatch.setattr(torch.optim.AdamW, "step", refuse)
    with pytest.raises(
        MemoryBudgetError, match="step 1, update of the weights: out of memory with bins of 4096 tokens"
    ):
        small_run.run(**arguments, output=str(tmp_path / "run"))


def in_little_memory(arguments, moment, spare, told):
    """Run where, from an event on, the process may take only so many more bytes; put what it ends with."""

    def limit(event):
        if event.kind == moment:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + spare
            resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))

    try:
        small_run.run(**arguments, on_event=limit)
    except LogratioError as error:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        told.put((type(error), str(error)))
    else:
        told.put((None, "it fitted"))


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "doing"), [("open", "reference pass"), ("eval", "step 1")])
def test_running_out_of_memory_names_the_tokens_and_the_knob(tmp_path, moment, doing):
    """The system itself refuses the memory; a model wide enough that one bin takes more than is left."""
    arguments = small_run.world(tmp_path, n=100)
    shape = {"hidden": 1024, "inner": 4096, "layers": 1, "heads": 4, "max_positions": 64}
    model = build_llama(vocab_size=len(small_run.WORDS) + len(SPECIAL), **shape, seed=0)
    save_built(model, small_run.word_tokenizer(), tmp_path / "start")
    arguments |= {"output": str(tmp_path / "run"), "cache": tmp_path / "cache", "train.batch_size": 64}
    told = SPAWN.Queue()
    process = SPAWN.Process(target=in_little_memory, args=(arguments, moment, 16 << 20, told))
    process.start()
    process.join(200)
    kind, text = told.get(timeout=1)
    assert kind is MemoryBudgetError, text
    said = re.match(rf"{doing}: out of memory with bins of (\d+) tokens \(the longest group has \d+\); (.*)", text)
    half = int(said.group(1)) // 2
    assert said.group(2).startswith(f"set train.bin_tokens to {half}, which changes no gradient")


def test_only_the_allocator_counts_as_out_of_memory():
    with pytest.raises(RuntimeError, match="a shape is wrong"), within_memory("step 0", [], 8):
        raise RuntimeError("a shape is wrong")
    groups = random_groups(3)
    longest = max(group.tokens for group in groups)
    with pytest.raises(MemoryBudgetError) as caught, within_memory("step 3", groups, longest):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert str(caught.value).startswith(f"step 3: out of memory with bins of {longest} tokens (the longest group has")
    assert "train.bin_tokens to" not in str(caught.value)  # smaller bins would not help
    with (
        pytest.raises(MemoryBudgetError, match="set train.bin_tokens to 5000"),
        within_memory("step 3", groups, 10_000),
    ):
        raise MemoryError


def test_a_disk_that_fills_up_costs_nothing_already_done(tmp_path):
    """Files may grow to 150 kB at first, then to 20 kB only: the second checkpoint does not fit."""
    arguments = {**small_run.world(tmp_path), "output": str(tmp_path / "run"), "cache": tmp_path / "cache"}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(event):
        if event.kind == "checkpoint":
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))

    try:
        with pytest.raises(LogratioError, match=r"step-00000002 could not be written .* nothing before it is lost"):
            small_run.run(**arguments, on_event=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000001"]
    assert small_run.run(**{**arguments, "resume": "auto"}, stop_at=("train", 2, ["SIGTERM"])).step == 2


def names_in(tree):
    """Every name that code uses, imports or passes as a keyword with its constant, as `allow_pickle=True`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.alias):
            yield node.name
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, (ast.Name, ast.Attribute)):
            yield ast.unparse(node)
        elif isinstance(node, ast.Call):
            yield f"{ast.unparse(node.func)}()"
        elif isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant):
            yield f"{node.arg}={node.value.value}"


def test_nothing_is_pickled_and_no_remote_code_is_run():
    """Collectives of objects pickle too."""
    unsafe = re.compile(
        r"(.*\.)?(c?[pP]ickle|dill|joblib|shelve|marshal)(\..*)?|torch\.(load|save)|.*(gather|scatter|broadcast|send|recv)_object.*|(eval|exec)\\(\\)|"
        "trust_remote_code=True|allow_pickle=True|weights_only=False|safe_serialization=False"
    )
    for path in SOURCE.rglob("*.py"):
        found = {name for name in names_in(ast.parse(path.read_text(encoding="utf-8"))) if unsafe.fullmatch(name)}
        assert not found, f"{path}: {found}"
    planted = "import torch.distributed as dist\ndist.all_gather_object(out, x)\nnp.load(f, allow_pickle=True)"
    assert {name for name in names_in(ast.parse(planted)) if unsafe.fullmatch(name)} >= {
        "dist.all_gather_object",
        "allow_pickle=True",
    }


def test_a_disk_too_full_for_the_model_leaves_a_run_that_can_be_finished(tmp_path):
    arguments = {**small_run.world(tmp_path), "output": str(tmp_path / "run"), "cache": tmp_path / "cache"}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(event):
        if event.kind == "checkpoint" and event.data["step"] == 6:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))

    try:
        with pytest.raises(LogratioError, match="/model could not be written .* nothing before it is lost"):
            small_run.run(**arguments, on_event=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "run" / "model").exists()
    assert small_run.run(**{**arguments, "resume": "auto"}).status == "finished"
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.endswith(".tmp")]
