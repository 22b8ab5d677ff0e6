"""Batch size is statistics, micro-batching is memory: one gradient on every binning and by both routes."""

import dataclasses

import pytest
import torch

from logratio import objectives
from logratio.batch.packed import pack
from logratio.errors import NonFiniteError
from logratio.logps.policy import Policy
from logratio.train.distributed import World
from logratio.train.gradient import Learner, step_gradient
from logratio.train.source import Step
from worlds import random_groups, tiny_llama

ALONE = World(0, 1, "none", torch.device("cpu"))
WEIGHTED = {
    "sft": random_groups(16, k=1, weights=True),
    "dpo": random_groups(16, k=2, weights=True),
    "kto": random_groups(16, k=1, weights=True, labels=True, mismatched=True),
    "bco": random_groups(16, k=1, weights=True, labels=True),
}
AMONG = {"good_sum": 3.0, "good_count": 40.0, "bad_sum": -20.0, "bad_count": 30.0}
"""Running sums of BCO in the midst of a run."""


def learner_of(name, dtype, *, bin_tokens, scope=None, **settings):
    objective = objectives.load(name)
    policy = Policy(tiny_llama(dtype=dtype))
    return Learner(policy, objective, objective.settings(**settings), ALONE, bin_tokens, scope or objective.scope)


def gradient(name, dtype, *, bin_tokens, scope=None, groups=None, **settings):
    learner = learner_of(name, dtype, bin_tokens=bin_tokens, scope=scope, **settings)
    model = learner.policy.model
    totals = step_gradient(learner, Step(0, groups or WEIGHTED.get(name, WEIGHTED["dpo"])))
    return torch.cat([p.grad.flatten() for p in model.parameters()]), totals


def off(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("name", ["sft", "dpo", "kto", "bco", "aot", "beta_dpo", "wpo"])
@pytest.mark.parametrize("dtype,bound", [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_every_binning_of_the_same_16_groups_gives_one_gradient(name, dtype, bound):
    whole, totals = gradient(name, dtype, bin_tokens=10**6)
    assert whole.norm() > 1e-3
    for bin_tokens in (1, 25, 60, 120):  # from one group a bin to three bins
        binned, others = gradient(name, dtype, bin_tokens=bin_tokens)
        assert off(binned, whole) <= bound
        assert others.loss.item() == pytest.approx(totals.loss.item(), rel=1e-6)
        for metric, pair in totals.sums.items():
            assert torch.allclose(others.sums[metric], pair, rtol=1e-5), metric


@pytest.mark.parametrize("name", ["sft", "dpo", "wpo"])
@pytest.mark.parametrize("bin_tokens", [50, 10**6])
def test_both_routes_give_the_same_gradient(name, bin_tokens):
    item, item_totals = gradient(name, torch.float64, bin_tokens=bin_tokens, scope="item")
    step, step_totals = gradient(name, torch.float64, bin_tokens=bin_tokens, scope="step")
    assert off(step, item) <= 1e-12
    assert step_totals.loss.item() == pytest.approx(item_totals.loss.item(), rel=1e-10)


def test_a_step_loss_taken_bin_by_bin_would_be_wrong():
    """The test above can fail: KTO's baseline differs between bins, so the item route gives another gradient."""
    right, _ = gradient("kto", torch.float64, bin_tokens=50)
    wrong, _ = gradient("kto", torch.float64, bin_tokens=50, scope="item")
    assert off(wrong, right) > 1e-3


def test_running_values_follow_whole_steps_whatever_the_bins():
    """BCO's δ from two steps, by hand, from the log-ratios that an undivided forward gives."""
    whole = learner_of("bco", torch.float64, bin_tokens=10**6, beta=0.2, decay=0.5)
    halves = [WEIGHTED["bco"][:9], WEIGHTED["bco"][9:]]
    expected = dict.fromkeys(AMONG, 0.0)
    for groups in halves:
        batch = pack(groups)
        logratio = whole.policy(batch, whole.needs).policy_R.detach() - batch.token["reference"]
        reward, good, w = (0.2 * batch.sum_by_response(logratio), batch.response["label"], batch.response["weight"])
        step = {
            "good_sum": (w * good * reward).sum(),
            "good_count": (w * good).sum(),
            "bad_sum": (w * (1 - good) * reward).sum(),
            "bad_count": (w * (1 - good)).sum(),
        }
        expected = {name: 0.5 * expected[name] + step[name].item() for name in expected}
    for bin_tokens in (10**6, 60):
        learner = learner_of("bco", torch.float64, bin_tokens=bin_tokens, beta=0.2, decay=0.5)
        assert {name: value.item() for name, value in learner.state.items()} == dict.fromkeys(AMONG, 0.0)
        for index, groups in enumerate(halves):
            totals = step_gradient(learner, Step(index, groups))
        for name, value in expected.items():
            assert learner.state[name].item() == pytest.approx(value, rel=1e-6), name
        means = [learner.state[f"{label}_sum"] / learner.state[f"{label}_count"] for label in ("good", "bad")]
        assert totals.sums["reward_shift"][0].item() == pytest.approx((sum(means) / 2).item(), rel=1e-12)


def test_given_running_values_enter_the_gradient():
    fresh, later = (learner_of("bco", torch.float64, bin_tokens=60, beta=0.2) for _ in range(2))
    later.set_state(AMONG)
    found = []
    for learner in (fresh, later):
        step_gradient(learner, Step(0, WEIGHTED["bco"]))
        found.append(torch.cat([p.grad.flatten() for p in learner.policy.parameters()]))
    assert off(found[1], found[0]) > 1e-2


def test_the_loss_is_the_written_out_mean_over_the_step():
    """Silent-bug list, losses 17: accumulation does not rescale; row by row with a plain log-softmax."""
    groups = WEIGHTED["dpo"]
    model = tiny_llama(dtype=torch.float64)

    def logp(group, k):
        ids = torch.tensor([*group.prompt, *group.responses[k]])
        table = torch.log_softmax(model(input_ids=ids[None]).logits[0, :-1], -1)
        token = table.gather(1, ids[1:, None])[len(group.prompt) - 1 :, 0]
        return token[torch.tensor(group.loss[k])].sum()

    numerator, denominator = 0.0, 0.0
    for group in groups:
        reference = torch.tensor(group.columns.token["reference"], dtype=torch.float64)
        cut = int(group.loss[0].sum())
        logratio = [logp(group, 0) - reference[:cut].sum(), logp(group, 1) - reference[cut:].sum()]
        weight = float(group.columns.edge["weight"][0])
        numerator = numerator - weight * torch.nn.functional.logsigmoid(0.3 * (logratio[0] - logratio[1]))
        denominator += weight
    loss = numerator / denominator
    loss.backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters()])
    ours, totals = gradient("dpo", torch.float64, bin_tokens=70, beta=0.3)
    assert totals.loss.item() == pytest.approx(loss.item(), rel=1e-10)
    assert off(ours, expected) <= 1e-6  # transformers' RMSNorm computes in float32 whatever the weights are


def test_a_weight_of_two_is_a_row_twice():
    single = random_groups(4, seed=5)
    doubled = [single[0], *single]
    heavy = [dataclasses.replace(single[0]).with_columns(edge={"weight": single[0].columns.edge["weight"] * 2})]
    twice, _ = gradient("dpo", torch.float64, bin_tokens=80, groups=doubled)
    weighted, _ = gradient("dpo", torch.float64, bin_tokens=80, groups=[*heavy, *single[1:]])
    assert off(weighted, twice) <= 1e-12


def test_a_non_finite_log_prob_names_step_rows_and_tensor_before_any_update():
    groups = random_groups(6, seed=3)
    bad = groups[4].columns.token["reference"].copy()
    bad[0] = float("nan")
    groups[4] = groups[4].with_columns(token={"reference": bad})
    with pytest.raises(NonFiniteError, match=r"step 1: reference log-prob is not finite in torch\.float32, .*\[4\]"):
        gradient("dpo", torch.float32, bin_tokens=10**6, groups=groups)
