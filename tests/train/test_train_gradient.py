"""Batch size is statistics, micro-batching is memory: one gradient on every binning and by both routes."""

import dataclasses

import numpy as np
import pytest
import torch
from transformers import MixtralConfig, MixtralForCausalLM

from logratio import objectives
from logratio.batch.packed import pack
from logratio.batch.plan import plan
from logratio.errors import NonFiniteError
from logratio.logps.policy import Policy
from logratio.logps.value import ValueHead
from logratio.testing.cases import case
from logratio.train.distributed import World
from logratio.train.gradient import Learner, step_gradient
from logratio.train.source import Step, mismatch
from worlds import VOCABULARY, random_groups, tiny_llama

ALONE = World(0, 1, "none", torch.device("cpu"))
WEIGHTED = {
    "sft": random_groups(16, k=1, weights=True),
    "dpo": random_groups(16, k=2, weights=True),
    "kto": random_groups(16, k=1, weights=True, labels=True, mismatched=True),
    "bco": random_groups(16, k=1, weights=True, labels=True),
}
AMONG = {"good_sum": 3.0, "good_count": 40.0, "bad_sum": -20.0, "bad_count": 30.0}
"""Running sums of BCO in the midst of a run."""


def learner_of(name, dtype, *, bin_tokens, scope=None, model=None, **settings):
    objective = objectives.load(name)
    chosen = objective.settings(**settings)
    value = value_head(dtype) if objective.needs(chosen).value else None
    policy = Policy(model or tiny_llama(dtype=dtype), value=value)
    return Learner(policy, objective, chosen, ALONE, bin_tokens, scope or objective.scope)


def value_head(dtype):
    """A head that tells states apart from the start."""
    head = ValueHead(32).to(dtype)
    torch.manual_seed(6)
    torch.nn.init.normal_(head.score.weight)
    return head


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


ELSEWHERE = ("reward", "tdpo")
"""A scalar head and a live reference; their routes are compared in test_train_reward and test_train_divergence."""


@pytest.mark.parametrize("name", sorted({*objectives.names()} - {*ELSEWHERE}))
def test_every_objective_has_one_gradient_by_its_route_in_bins_and_from_the_whole_step(name):
    objective = objectives.load(name)
    groups = case(objective, objective.settings(), n=8).groups
    whole, whole_totals = gradient(name, torch.float64, bin_tokens=10**6, scope="step", groups=groups)
    own, own_totals = gradient(name, torch.float64, bin_tokens=60, groups=groups)
    assert whole.norm() > 1e-6 and off(own, whole) <= 1e-11
    assert own_totals.loss.item() == pytest.approx(whole_totals.loss.item(), rel=1e-9)


@pytest.mark.parametrize("name", ["sft", "dpo", "simpo", "orpo"])
def test_a_masked_token_that_nothing_follows_is_not_learned_at_all(name):
    """Its gradient is exactly 0: any other token in its place leaves every bit of the gradient as it is."""

    def ended(group, token):
        responses = tuple(np.append(response, np.int32(token)) for response in group.responses)
        return dataclasses.replace(
            group, responses=responses, loss=tuple(np.append(mask, False) for mask in group.loss)
        )

    groups = WEIGHTED["sft" if name == "sft" else "dpo"][:6]
    one, other = (
        gradient(name, torch.float32, bin_tokens=10**6, groups=[ended(group, token) for group in groups])[0]
        for token in (3, 17)
    )
    assert torch.equal(one, other) and one.norm() > 0


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


@pytest.mark.parametrize("scope", ["item", "step"])
@pytest.mark.parametrize("bin_tokens", [60, 10**6])
def test_the_load_balancing_loss_of_experts_reaches_the_routers(scope, bin_tokens):
    """Silent-bug list, losses 23: it is in the gradient by both routes, each bin by its share of the step's tokens."""
    found = {}
    for coefficient in (0.0, 0.5):
        learner = learner_of("dpo", torch.float32, bin_tokens=bin_tokens, scope=scope, model=experts(coefficient))
        step_gradient(learner, Step(0, WEIGHTED["dpo"]))
        found[coefficient] = routers(learner.policy)
    groups, expected = WEIGHTED["dpo"], torch.zeros_like(found[0.0])
    (bins,) = plan([group.tokens for group in groups], world=1, budget=bin_tokens)
    for members in bins:
        policy = Policy(experts(0.5))
        batch = pack([groups[i] for i in members])
        share = len(batch.tokens_T) / sum(group.tokens for group in groups)
        (share * policy(batch, learner.needs).auxiliary).backward()
        expected += routers(policy)
    assert expected.norm() > 1e-3
    assert off(found[0.5] - found[0.0], expected) <= 1e-4


def experts(coefficient):
    """A random Mixtral of four experts."""
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        num_local_experts=4,
        num_experts_per_tok=2,
        output_router_logits=True,
        router_aux_loss_coef=coefficient,
        initializer_range=0.2,
    )
    return MixtralForCausalLM(config).eval()


def routers(policy):
    gates = [p.grad for name, p in policy.named_parameters() if name.endswith("gate.weight")]
    assert gates
    return torch.cat([gradient.flatten() for gradient in gates])


@pytest.mark.parametrize("count", [2, 7])
@pytest.mark.parametrize("bin_tokens", [1, 60, 10**6])
def test_the_baseline_of_kto_is_over_every_mismatched_pair_of_the_step(count, bin_tokens):
    """Silent-bug list, losses 21: never a response beside its own prompt at an odd size, none left out, and one number
    for the whole step, not for each micro-batch or for the last one.
    """
    own = random_groups(count, k=1, labels=True, seed=9)
    bare = [dataclasses.replace(group, columns=dataclasses.replace(group.columns, token={})) for group in own]
    mixed = mismatch(bare, np.arange(count, dtype=np.uint64), 64)
    assert sorted(mixed.partners) == list(range(count)) and all(mixed.partners != np.arange(count))
    groups = [group.with_columns(token={"reference": np.full(group.scored, -4.0, np.float32)}) for group in mixed]
    learner = learner_of("kto", torch.float64, bin_tokens=bin_tokens)
    told = step_gradient(learner, Step(0, groups)).sums["baseline_raw"]
    by_hand = []
    for group in groups:
        ids = torch.tensor([*group.prompt, *group.responses[1]])
        table = torch.log_softmax(learner.policy.model(input_ids=ids[None]).logits[0, :-1], -1)
        own_logp = table.gather(1, ids[1:, None])[len(group.prompt) - 1 :, 0][torch.tensor(group.loss[1])]
        by_hand.append((own_logp.sum() + 4 * len(own_logp)).item())
    assert (told[0] / told[1]).item() == pytest.approx(sum(by_hand) / count, rel=1e-5)


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
