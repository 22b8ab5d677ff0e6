"""Values in a run: trained by the run's optimiser, restored, saved beside the model, and counted in the memory."""

from itertools import product
from pathlib import Path

import process_worker
import pytest
import small_run
import torch
from safetensors.torch import load_file
from test_train_processes import numbers, together
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from logratio import objectives
from logratio.config import TrainConfig
from logratio.errors import ConfigError, ModelError
from logratio.logps.policy import Policy
from logratio.logps.value import Critic, ValueHead
from logratio.models.value import load_head, save_head
from logratio.train import checkpoint
from logratio.train.distributed import World
from logratio.train.gradient import Learner, step_gradient
from logratio.train.memory import estimate
from logratio.train.optim import Optimizer
from logratio.train.recipe import resolve
from logratio.train.source import Step
from worlds import random_groups, tiny_llama, tiny_scorer

ALONE = World(0, 1, "none", torch.device("cpu"))
OWN = '''
from logratio.batch.needs import Needs
from logratio.objectives.base import Objective, Settings, Term
from logratio.objectives.metrics import Metric


class None_(Settings):
    """Nothing to set."""


VALUED = Objective(
    summary="imitation beside values that shall be 1",
    formula="−log π + ½(V − 1)²",
    source="a test",
    data="demonstrations",
    settings=None_,
    terms=lambda settings: {"nll": Term("token"), "value": Term("token", 0.5)},
    losses=lambda logps, batch, settings: {"nll": -logps.policy_R, "value": (logps.value_R - 1).square() / 2},
    metrics=lambda logps, batch, settings: {"value": Metric(logps.value_R, "token")},
    needs=lambda settings: Needs(value=True),
)
'''


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("valued")
    (folder / "own.py").write_text(OWN)
    return {**small_run.world(folder, n=30), "objective": f"{folder / 'own.py'}:VALUED", "cache": folder / "cache"}


def state_of(run, step=-1):
    return checkpoint.load(sorted((run / "checkpoints").glob("step-*"))[step])[0]


def equal(run, other):
    own, its = state_of(run), state_of(other)
    return own.keys() == its.keys() and all(torch.equal(own[name], its[name]) for name in own)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({}, id="shared"),
        pytest.param({"value.body": "separate"}, id="separate"),
        pytest.param({"value.lr": 3.0, "lora": 2}, id="lora", marks=pytest.mark.slow),
        pytest.param({"train.precision": "bf16"}, id="bf16", marks=pytest.mark.slow),
        pytest.param({"train.precision": "bf16", "train.weights": "bf16"}, id="stochastic", marks=pytest.mark.slow),
        pytest.param({"value.body": "separate", "train.checkpointing": True}, id="recomputed", marks=pytest.mark.slow),
        pytest.param({"value.body": "separate", "lora": 2}, id="separate-lora", marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_weights_and_values_are_saved_beside_the_model(given, value, tmp_path):
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    small_run.run(**given, **value, output=str(whole))
    stopped = small_run.run(**given, **value, output=str(parted), stop_at=("train", 2, ["SIGTERM"]))
    assert (stopped.status, stopped.step) == ("interrupted", 2)
    small_run.run(**given, resume=str(parted))
    assert equal(whole, parted) and small_run.metrics(whole) == small_run.metrics(parted)
    rows = [row for row in small_run.metrics(whole) if row["kind"] == "train"]
    assert rows[0]["value"] == 0.0 and rows[-1]["value"] > 0  # it began at 0 and goes towards 1
    _saved(whole, separate="value.body" in value)


def _saved(run: Path, *, separate: bool):
    trained = {n.removeprefix("weight/value."): w for n, w in state_of(run).items() if n.startswith("weight/value.")}
    if separate:
        critic = AutoModelForSequenceClassification.from_pretrained(run / "value")
        assert critic.num_labels == 1
        kept = {f"model.{name}": weight for name, weight in critic.state_dict().items()}
        assert all(torch.equal(kept[name], weight) for name, weight in trained.items())
    else:
        kept = load_file(run / "value" / "value.safetensors")
        assert kept.keys() == {"score.weight", "score.bias"}
        assert all(torch.equal(kept[name], weight) for name, weight in trained.items())
    for file in (run / "model").glob("*.safetensors"):
        assert not [name for name in load_file(file) if "score" in name or "value" in name]
    if (run / "model" / "config.json").is_file():
        AutoModelForCausalLM.from_pretrained(run / "model")


def test_a_second_run_starts_from_the_first_ones_values(given, tmp_path):
    small_run.run(**given, output=str(tmp_path / "one"), **{"train.epochs": 0.2})
    weights = load_file(tmp_path / "one" / "value" / "value.safetensors")
    assert weights["score.weight"].any()
    said = []

    def listen(event):
        said.extend(event.data.get("lines", ()))
        if event.kind == "open":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small_run.run(**given, output=str(tmp_path / "two"), **{"value.start": str(tmp_path / "one")}, on_event=listen)
    assert any(line.startswith(f"values: a head on the policy's own hidden states, from {tmp_path}") for line in said)
    assert any("+ values " in line for line in said if line.startswith("memory:"))
    loaded = load_head(tmp_path / "one" / "value", 16)
    assert torch.equal(loaded["score.weight"], weights["score.weight"])


def test_what_does_not_fit_is_refused_in_one_sentence(given, tmp_path):
    with pytest.raises(ModelError, match="width 8, and this model's have 16"):
        save_head(ValueHead(8).state_dict(), tmp_path / "narrow", of="../model")
        small_run.run(**given, output=str(tmp_path / "a"), **{"value.start": str(tmp_path / "narrow")})
    with pytest.raises(ModelError, match="holds no value head"):
        small_run.run(**given, output=str(tmp_path / "b"), **{"value.start": given["model"]})
    with pytest.raises(ConfigError, match="dpo reads no values"):
        resolve({"model": "m", "data": "d", "objective": "dpo", "value": {"lr": 2.0}})


def test_a_critic_of_other_tokens_is_refused(given, tmp_path):
    from tokenizers import Tokenizer, models

    from logratio.models.build import SPECIAL, build_llama, save_built, wrap_tokenizer

    words = [*SPECIAL, *reversed(small_run.WORDS)]
    other = Tokenizer(models.WordLevel({token: i for i, token in enumerate(words)}, unk_token="<unk>"))
    model = build_llama(vocab_size=len(words), hidden=16, inner=24, layers=2, heads=2, max_positions=64, seed=0)
    save_built(model, wrap_tokenizer(other, max_length=64), tmp_path / "other")
    with pytest.raises(ModelError, match="other tokens than the policy's"):
        small_run.run(
            **given,
            output=str(tmp_path / "run"),
            **{"value.body": "separate", "value.start": str(tmp_path / "other")},
        )


@pytest.mark.parametrize("body", ["shared", "separate"])
@pytest.mark.parametrize("scope", ["item", "step"])
def test_every_binning_and_both_routes_give_the_values_one_gradient(given, body, scope):
    objective = objectives.load(given["objective"])
    groups = random_groups(10, k=2, weights=True)

    def gradient(bin_tokens, scope):
        torch.manual_seed(5)
        value = ValueHead(32).double() if body == "shared" else Critic(tiny_scorer(1, torch.float64))
        torch.nn.init.normal_((value if body == "shared" else value.model).score.weight)
        policy = Policy(tiny_llama(dtype=torch.float64), value=value)
        learner = Learner(policy, objective, objective.settings(), ALONE, bin_tokens, scope)
        step_gradient(learner, Step(0, groups))
        return torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])

    whole, binned = gradient(10**6, "item"), gradient(60, scope)
    assert whole.norm() > 1 and ((binned - whole).norm() / whole.norm()).item() <= 1e-12


def test_values_move_at_their_own_multiple_of_the_rate():
    """AdamW's first step is lr·sign(g), so that the steps themselves tell the rates."""
    for stochastic in (False, True):
        dtype = torch.bfloat16 if stochastic else torch.float32
        own, value = (torch.nn.Parameter(torch.zeros(3, dtype=dtype)) for _ in range(2))
        opt = Optimizer(
            {"w": own, "value.w": value},
            kind="adamw",
            weight_decay=0.0,
            stochastic=stochastic,
            seed=0,
            rates={"value.w": 4.0},
        )
        for slot in opt.slots:
            slot.weight.grad = torch.ones(3, dtype=dtype)
            slot.collect(slot.weight.grad) if stochastic else None
        opt.step(0.25, 0)
        assert torch.allclose(own.float(), torch.full((3,), -0.25), atol=2e-3)
        assert torch.allclose(value.float(), torch.full((3,), -1.0), atol=1e-2)


def test_the_memory_of_a_critic_is_counted_with_its_activations():
    model, critic = tiny_llama(), Critic(tiny_scorer())
    count = sum(weight.numel() for weight in critic.parameters())
    alone, both = (estimate(model, TrainConfig(), bf16=False, world=ALONE, value=value) for value in (None, critic))
    assert (both.value, both.value_ahead) == (16 * count, 12 * count) and alone.value == 0
    assert both.ahead == alone.ahead + 12 * count and both.per_token == 2 * alone.per_token
    head = estimate(model, TrainConfig(), bf16=True, world=ALONE, value=ValueHead(32))
    assert (head.value, head.value_ahead) == (33 * 18, 33 * 16)
    assert head.per_token == estimate(model, TrainConfig(), bf16=True, world=ALONE).per_token


@pytest.mark.slow
def test_two_processes_train_and_save_the_values_of_one(given, tmp_path):
    """Head and critic, replicated and sharded: the same metrics, the same files up to rounding."""
    bodies = {"head": {}, "critic": {"value.body": "separate"}}
    names = {**{name: value for name, value in given.items() if name != "cache"}, "train.bin_tokens": 60}

    def job(name, mode):
        own = {**names, **bodies[name], "train.parallel": mode, "cache": str(tmp_path / f"{name}-{mode}-cache")}
        return ["run", str(tmp_path / f"{name}-{mode}"), own]

    process_worker.work([job(name, "none") for name in bodies])
    together(tmp_path, [job(name, mode) for name in bodies for mode in ("replicate", "shard")])
    for name, mode in product(bodies, ("replicate", "shard")):
        one, two = (tmp_path / f"{name}-{which}" for which in ("none", mode))
        for row, its in zip(small_run.metrics(one), small_run.metrics(two), strict=True):
            assert dict(numbers(its)) == pytest.approx(dict(numbers(row)), rel=1e-4, abs=2e-5)
        for part in ("model", "value"):
            (file,) = (one / part).glob("*.safetensors")
            own, other = load_file(file), load_file(two / part / file.name)
            assert own.keys() == other.keys()
            assert all(torch.allclose(other[key], weight, rtol=1e-3, atol=1e-5) for key, weight in own.items())
