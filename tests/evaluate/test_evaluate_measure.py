import dataclasses

import numpy as np
import pytest
import torch

from logratio import objectives
from logratio.batch.logps import Logps
from logratio.batch.packed import pack
from logratio.evaluate.measure import Scored, measured_names, objective_measures, prompt_numbers
from logratio.logps.policy import Policy
from logratio.logps.reference import score
from logratio.objectives.base import Term
from logratio.objectives.metrics import Metric
from worlds import random_groups, tiny_llama


def scored(groups, bin_tokens=200):
    policy = Policy(tiny_llama(dtype=torch.float64))
    return Scored.of(groups, score(policy, groups, bin_tokens=bin_tokens))


@pytest.mark.parametrize(
    ("name", "options"), [("sft", {"k": 1}), ("dpo", {}), ("kto", {"labels": True, "mismatched": True})]
)
def test_an_objective_is_measured_as_if_the_data_set_were_one_step(name, options):
    groups = random_groups(12, weights=True, **options)
    objective = objectives.load(name)
    settings = objective.settings()
    measures = objective_measures(scored(groups), objective, settings)
    whole = scored(groups)
    (loss,) = objective.losses(whole.logps, whole.batch, settings).values()
    unit = next(iter(objective.terms(settings).values())).unit
    batch = pack(groups)
    weight = batch.response["weight"][batch.response_R] if unit == "token" else getattr(batch, unit)["weight"]
    assert measures["loss"].mean == pytest.approx(float((weight * loss).sum() / weight.sum()))
    for key, metric in objective.metrics(whole.logps, whole.batch, settings).items():
        total, count = metric.total()
        assert measures[key].mean == pytest.approx(float(total / count), abs=1e-12), key
    if name == "dpo":
        assert 0 <= measures["accuracy"].low < measures["accuracy"].high <= 1


@pytest.mark.parametrize(
    ("name", "options", "recipe"),
    [
        ("sft", {"k": 1}, {}),
        ("dpo", {}, {"sft_weight": 0.5}),
        ("bco", {"k": 1, "labels": True}, {}),
        ("kto", {"k": 1, "labels": True, "mismatched": True}, {}),
        ("wpo", {}, {}),
        ("simpo", {}, {}),
        ("rrhf", {"k": 3, "scores": True}, {}),
    ],
)
def test_the_names_of_measures_are_known_from_one_group_without_a_model(name, options, recipe):
    groups = random_groups(4, **options)
    objective = objectives.load(name)
    settings = objective.settings(**recipe)
    zeros = torch.zeros(sum(group.scored for group in groups))
    state = {key: torch.tensor(value).double() for key, value in objective.state(settings).items()}
    referred = [group.with_columns(token={"reference": np.zeros(group.scored, np.float32)}) for group in groups]
    measures = objective_measures(
        Scored.whole(referred, Logps(zeros, zeros, zeros, None, zeros), state), objective, settings
    )
    bare = dataclasses.replace(groups[0], columns=dataclasses.replace(groups[0].columns, token={}))
    assert measured_names(objective, settings, bare) == list(measures)


@pytest.mark.parametrize("bin_tokens", [1, 37, 10_000])
def test_numbers_do_not_depend_on_the_bins(bin_tokens):
    groups = random_groups(20)
    objective = objectives.load("dpo")
    one, other = (
        objective_measures(scored(groups, bins), objective, objective.settings()) for bins in (90, bin_tokens)
    )
    for name, measure in one.items():
        expected = (measure.mean, measure.low, measure.high)
        assert (other[name].mean, other[name].low, other[name].high) == pytest.approx(expected, abs=2e-6), name
        assert other[name].n == measure.n


def test_items_of_every_unit_belong_to_the_cluster_of_their_prompt():
    groups = random_groups(6, k=3)
    doubled = [*groups, *groups]  # each prompt twice, with the same values: no new information
    once, twice = scored(groups), scored(doubled)
    for unit, size in (("edge", "winner_E"), ("response", None), ("token", "target_R"), ("group", "row_G")):
        count = once.batch.responses if size is None else len(getattr(once.batch, size))
        value = torch.from_numpy(np.random.default_rng(0).normal(size=count))
        single = once.mean(Metric(value, unit))
        double = twice.mean(Metric(torch.cat((value, value)), unit))
        assert double.n == 2 * single.n
        assert (double.mean, double.low, double.high) == pytest.approx((single.mean, single.low, single.high)), unit


def test_a_number_of_the_whole_step_has_no_interval():
    measure = scored(random_groups(3)).measure("baseline", Metric(torch.tensor([0.25]), "step"))
    assert (measure.mean, measure.low, measure.high) == (0.25, None, None)


def test_several_terms_are_named_apart():
    dpo = objectives.load("dpo")

    def both(logps, batch, settings):
        return {**dpo.losses(logps, batch, settings), "nll": -logps.policy_R}

    from dataclasses import replace

    mixed = replace(dpo, losses=both, terms=lambda settings: {"dpo": Term("edge"), "nll": Term("token", 0.2)})
    measures = objective_measures(scored(random_groups(4)), mixed, mixed.settings())
    assert {"loss_dpo", "loss_nll"} <= measures.keys() and "loss" not in measures


def test_equal_prompts_share_a_number():
    groups = random_groups(3)
    assert prompt_numbers([groups[0], groups[1], groups[0], groups[2]]).tolist() == [0, 1, 0, 2]
