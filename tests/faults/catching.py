"""What catches a planted bug: a check before or in a run, or a test that exists already."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import small_run
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from logratio.config import LoraConfig
from logratio.errors import PreflightError
from logratio.models.build import SPECIAL, save_built
from logratio.models.load import load_model
from logratio.models.save import save_model
from logratio.train.preflight.budget import Budget
from logratio.train.preflight.subject import check
from logratio.train.recipe import resolve


@dataclass(frozen=True)
class Catcher:
    """What is expected to catch a bug.

    Attributes:
        told: What the page calls it.
        healthy: Asserts that without the bug it is content.
        caught: Asserts that with the bug it is not; returns what it says.
        ready: Imports what it needs, before a bug is in place: what is imported then would keep it.
    """

    told: str
    healthy: Callable[[pytest.FixtureRequest], None]
    caught: Callable[[pytest.FixtureRequest], str]
    ready: Callable[[], object] = bool


def by_check(name, *, world=small_run.world, **changes):
    """A check before the first step, which ends `logratio check` with a fail."""

    def found(request):
        folder = request.getfixturevalue("tmp_path")
        arguments = {"output": "unused", **small_run.RECIPE, **world(folder), **changes}
        return {each.name: each for each in check(resolve({}, arguments), full=True)}

    def healthy(request):
        names = {name for name, each in found(request).items() if each.level in ("look", "stop")}
        assert names <= {"held_out"}  # of so few rows

    def caught(request):
        each = found(request)[name]
        assert each.level == "stop" and each.remedy
        return each.says

    return Catcher(f"preflight: `{name}`", healthy, caught)


def by_run(name, **changes):
    """A check in the first steps of a run, which it stops."""

    def run(request):
        folder, monkeypatch = request.getfixturevalue("tmp_path"), request.getfixturevalue("monkeypatch")
        monkeypatch.setattr(Budget, "most", property(lambda self: 1e9))
        arguments = {**small_run.world(folder), "eval.samples": 0, "every.eval": 1, "every.checkpoint": 1, **changes}
        small_run.run(**arguments, output=folder / "run", preflight=True)

    def caught(request):
        with pytest.raises(PreflightError, match=f"^preflight, {name}: ") as error:
            run(request)
        return str(error.value)

    return Catcher(f"preflight, first steps: `{name}`", run, caught)


def by_test(path, name, *given, fixtures=(), fails=(AssertionError,)):
    """A test of another folder, whose assertion fails.

    Args:
        path: Its module, as data/test_data_tokenize.
        name: The function.
        given: Values of its parameters; a function is called with the module and returns one.
        fixtures: Fixtures of that module, each made from `tmp_path_factory` and those before it.
        fails: Errors that count as a failed assertion: what a bug makes of the test's own set-up.
    """

    def ready():
        return importlib.import_module(path.rpartition("/")[2])

    def run(request):
        module = ready()
        function = getattr(module, name)
        wanted = inspect.signature(function).parameters
        made = {"tmp_path_factory": request.getfixturevalue("tmp_path_factory")}
        for fixture in fixtures:
            plain = getattr(module, fixture)._get_wrapped_function()
            made[fixture] = plain(**{key: made[key] for key in inspect.signature(plain).parameters})
        known = {
            key: made.get(key) or request.getfixturevalue(key) for key in wanted if key in made or key == "tmp_path"
        }
        values = [value(module) if inspect.isfunction(value) else value for value in given]
        function(**dict(zip((key for key in wanted if key not in known), values, strict=True)), **known)

    def caught(request):
        with pytest.raises((pytest.fail.Exception, *fails)):
            run(request)
        return name

    return Catcher(f"test: `{path.rpartition('/')[2]}::{name}`", run, caught, ready)


def kto_world(folder):
    """Responses with labels, and the objective that learns from them."""
    return {**small_run.world(folder, rows=small_run.labelled), "objective": "kto"}


def adapter_world(folder):
    """A model that is an adapter on a base, whose B is not 0."""
    arguments = small_run.world(folder)
    loaded = load_model(arguments["model"], lora=LoraConfig(r=4))
    draw = torch.Generator().manual_seed(1)
    for name, weight in loaded.model.named_parameters():
        if "lora_B" in name:
            weight.data = torch.randn(weight.shape, generator=draw) * 0.1
    return {**arguments, "model": str(save_model(loaded, loaded.tokenizer, folder / "adapter"))}


def dropout_world(folder):
    """A model whose config has three kinds of dropout."""
    arguments = small_run.world(folder)
    torch.manual_seed(0)
    sizes = {"n_positions": 1100, "n_embd": 16, "n_layer": 2, "n_head": 2}
    config = GPT2Config(vocab_size=len(small_run.WORDS) + len(SPECIAL), bos_token_id=1, eos_token_id=2, **sizes)
    save_built(GPT2LMHeadModel(config), small_run.word_tokenizer(), folder / "start")
    return arguments
