"""The divergence from a live reference in a step: an adapter switched off, or a second model."""

import copy
import math
from contextlib import contextmanager, nullcontext

import pytest
import small_run
import torch
from process_worker import model_of

from logratio import objectives
from logratio.errors import ConfigError
from logratio.logps.policy import Policy
from logratio.models.adapters import adapter_off
from logratio.models.load import load_model
from logratio.train.distributed import World
from logratio.train.gradient import Learner, metric_names, step_gradient
from logratio.train.recipe import resolve
from logratio.train.reference import require_at_hand
from logratio.train.source import Step
from worlds import random_groups, tiny_llama

ALONE = World(0, 1, "none", torch.device("cpu"))
GROUPS = random_groups(9, k=2, weights=True, seed=6)


def set_up(layout, *, path="shared"):
    """Return a policy and its live reference: the weights under a LoRA adapter, or another model."""
    model = model_of(layout, torch.float64)
    policy = Policy(model, path=path)
    if layout == "tied":
        second = Policy(tiny_llama(seed=5, dtype=torch.float64), path=path)
        return policy, lambda: nullcontext(second)

    @contextmanager
    def off():
        with adapter_off(model):
            yield policy

    return policy, off


def stepped(layout, *, bin_tokens=60, scope="item", path="shared", form="tdpo2"):
    objective = objectives.load("tdpo")
    policy, live = set_up(layout, path=path)
    settings = objective.settings(beta=0.3, form=form)
    learner = Learner(policy, objective, settings, ALONE, bin_tokens, scope, live)
    totals = step_gradient(learner, Step(0, GROUPS))
    named = {name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None}
    return totals.reduce(ALONE, metric_names(learner, Step(0, GROUPS))), named


def by_hand(layout, form):
    """The same step, row by row, from two full log-softmax tables; its loss and gradients."""
    policy, live = set_up(layout)
    policy.take("plain", "by hand")
    model, terms, weights = policy.model, [], []
    for group in GROUPS:
        reference = torch.split(
            torch.tensor(group.columns.token["reference"], dtype=torch.float64), [int(m.sum()) for m in group.loss]
        )
        sums = []
        for response, mask, base in zip(group.responses, group.loss, reference, strict=True):
            ids = torch.tensor([*group.prompt, *response])
            at = slice(len(group.prompt) - 1, len(ids) - 1)
            keep = torch.tensor(mask)
            with torch.no_grad(), live() as other:
                fixed = torch.log_softmax(other.model(input_ids=ids[None]).logits[0], -1)[at][keep]
            table = torch.log_softmax(model(input_ids=ids[None]).logits[0], -1)[at][keep]
            own = table.gather(1, torch.tensor(response)[keep].long()[:, None]).squeeze(1)
            sums.append((own.sum() - base.sum(), (fixed.exp() * (fixed - table)).sum()))
        (won, drift_won), (lost, drift_lost) = sums
        further = drift_won - drift_lost if form == "tdpo1" else 0.5 * (drift_won.detach() - drift_lost)
        terms.append(-torch.nn.functional.logsigmoid(0.3 * (won - lost + further)))
        weights.append(float(group.columns.edge["weight"][0]))
    loss = sum(w * term for w, term in zip(weights, terms, strict=True)) / sum(weights)
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def off_by(found, expected):
    assert found.keys() == expected.keys()
    whole = torch.cat([expected[name].flatten() for name in expected])
    return ((torch.cat([found[name].flatten() for name in expected]) - whole).norm() / whole.norm()).item()


@pytest.mark.parametrize("layout", ["tied", "attention", "head"])
@pytest.mark.parametrize("form", ["tdpo1", "tdpo2"])
def test_loss_and_gradient_are_those_of_two_full_tables(layout, form):
    """A second model; a LoRA adapter on attention, and one on the head, switched off."""
    loss, expected = by_hand(layout, form)
    row, found = stepped(layout, form=form)
    assert row["loss"] == pytest.approx(loss, rel=1e-6)
    assert off_by(found, expected) <= 1e-5  # transformers' RMSNorm computes in float32 whatever the weights are
    assert row["drift_chosen"] > 1e-3


@pytest.mark.parametrize("layout", ["tied", "head"])
def test_bins_routes_and_paths_agree(layout):
    row, whole = stepped(layout, bin_tokens=10**6)
    for bin_tokens, scope, path in ((60, "item", "shared"), (60, "step", "shared"), (10**6, "step", "shared")):
        other, found = stepped(layout, bin_tokens=bin_tokens, scope=scope, path=path)
        assert off_by(found, whole) <= 1e-12
        assert other == pytest.approx(row, rel=1e-9)
    assert off_by(stepped(layout, path="plain")[1], whole) <= 1e-5


@pytest.mark.parametrize("recipe", [{}, {"lora": {"r": 4, "alpha": 8}}], ids=["second model", "adapter"])
def test_a_run_starts_at_the_reference_and_drifts_from_it(tmp_path, recipe):
    arguments = {**small_run.world(tmp_path), "objective": "tdpo", "output": str(tmp_path / "run"), **recipe}
    told = []
    small_run.run(**arguments, cache=tmp_path / "cache", on_event=told.append)
    (opened,) = (event.data["lines"] for event in told if event.kind == "open")
    assert any("second model" in line for line in opened) == (not recipe)
    rows = small_run.metrics(tmp_path / "run")
    train = [row for row in rows if row["kind"] == "train"]
    assert train[0]["drift_chosen"] == pytest.approx(0, abs=1e-5) and train[0]["loss"] == pytest.approx(
        math.log(2), abs=1e-4
    )
    assert train[-1]["drift_chosen"] > 1e-5
    drifts = [row["drift_rejected"]["mean"] for row in rows if row["kind"] == "eval"]
    assert drifts[0] == pytest.approx(0, abs=1e-5) and drifts[-1] > 1e-5


def test_a_model_in_memory_cannot_be_its_own_second_model(tmp_path):
    arguments = small_run.world(tmp_path)
    held = load_model(arguments["model"])
    arguments.update(model=copy.deepcopy(held.model), tokenizer=held.tokenizer, objective="tdpo")
    with pytest.raises(ConfigError, match="objective tdpo reads the reference's whole distribution"):
        small_run.run(**arguments, output=str(tmp_path / "run"), cache=tmp_path / "cache")


def test_several_processes_are_refused_with_the_remedy():
    config = resolve({"model": "m", "data": "d", "objective": "tdpo"}).config
    with pytest.raises(ConfigError, match="is at hand on one process only, and there are 2; start one process"):
        require_at_hand(config, None, World(0, 2, "shard", torch.device("cpu")), given=False, divergence=True)
