"""Values before each token: both paths, both bodies, by hand, and through both routes to a step's gradient."""

import numpy as np
import pytest
import torch
import transformers
from zoo import exact_norms

from logratio.batch.needs import Needs
from logratio.batch.packed import pack
from logratio.config import LoraConfig
from logratio.errors import ModelError
from logratio.logps.policy import Policy, choose_path
from logratio.logps.value import Critic, ValueHead
from logratio.logps.whole import whole
from logratio.models import adapters
from worlds import VOCABULARY, random_groups, tiny_llama, tiny_scorer

VALUE = Needs(value=True)
GROUPS = random_groups(5, k=3)


def shared_head(seed=3):
    torch.manual_seed(seed)
    head = ValueHead(32).double()
    torch.nn.init.normal_(head.score.weight)
    torch.nn.init.normal_(head.score.bias)
    return head


def parts():
    return {"shared": shared_head(), "separate": Critic(exact_norms(tiny_scorer(seed=4, dtype=torch.float64)))}


def both(policy):
    """Values, log-probs and gradients on the two paths."""
    batch, found = pack(GROUPS), []
    for path in ("shared", "plain"):
        policy.take(path, "test")
        policy.zero_grad()
        logps = policy(batch, VALUE)
        along = torch.linspace(-1, 2, len(logps.value_R), dtype=torch.float64)
        (logps.value_R * along).sum().backward()
        gradients = {n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None}
        found.append((logps.value_R.detach(), logps.policy_R.detach(), gradients))
    return found


@pytest.mark.parametrize("body", ["shared", "separate"])
def test_values_and_their_gradients_are_equal_on_both_paths(body):
    policy = Policy(exact_norms(tiny_llama(dtype=torch.float64)), value=parts()[body])
    (value_R, logp_R, own), (plain_R, plain_logp_R, other) = both(policy)
    assert value_R.std() > 0.1
    assert torch.allclose(value_R, plain_R, atol=1e-10) and torch.allclose(logp_R, plain_logp_R, atol=1e-10)
    assert own.keys() == other.keys() and "value.score.weight" in own or "value.model.score.weight" in own
    for name in own:
        assert torch.allclose(own[name], other[name], atol=1e-9), name
    reached = any(name.startswith("model.") for name in own)
    assert reached == (body == "shared")  # a critic's loss never moves the policy


def test_a_value_is_read_at_the_state_that_predicts_its_token():
    """By hand: hidden states of one unpadded row, w·h + b at the position before each scored token."""
    model, head = tiny_llama(dtype=torch.float64), shared_head()
    value_R = Policy(model, value=head)(pack(GROUPS), VALUE).value_R.detach()
    expected = []
    for group in GROUPS:
        for response, mask in zip(group.responses, group.loss, strict=True):
            row = torch.from_numpy(np.concatenate((group.prompt, response))).long()[None]
            h_LD = model.model(row).last_hidden_state[0]
            at = len(group.prompt) + torch.from_numpy(np.flatnonzero(mask)) - 1
            expected.append(h_LD[at] @ head.score.weight[0] + head.score.bias)
    assert torch.allclose(value_R, torch.cat(expected).detach(), atol=1e-10)


def test_a_critic_reads_at_the_last_token_what_transformers_scores_one_token_earlier():
    """The value before token t is the reward model's score of the text up to t − 1."""
    scorer = tiny_scorer(seed=4, dtype=torch.float64)
    scorer.config.pad_token_id = 0
    value_R = Policy(tiny_llama(dtype=torch.float64), value=Critic(scorer))(pack(GROUPS[:1]), VALUE).value_R
    group = GROUPS[0]
    at = np.flatnonzero(group.loss[0])
    for place, t in enumerate(at):
        row = torch.from_numpy(np.concatenate((group.prompt, group.responses[0][:t]))).long()[None]
        assert scorer(row + 0).logits.item() == pytest.approx(value_R[place].item(), abs=1e-9)


def test_a_new_head_begins_at_zero_and_an_empty_bin_keeps_it_on_the_graph():
    policy = Policy(tiny_llama(), value=ValueHead(32))
    assert not policy(pack(GROUPS), VALUE).value_R.any()
    empty = policy(pack([]), VALUE)
    assert empty.value_R.shape == (0,)
    empty.value_R.sum().backward()
    assert policy.value.score.weight.grad is not None


def test_log_probs_are_the_same_bits_with_and_without_values():
    model = tiny_llama()
    bare = Policy(model)(pack(GROUPS), Needs()).policy_R
    assert torch.equal(Policy(model, value=ValueHead(32))(pack(GROUPS), VALUE).policy_R, bare)


def test_values_of_a_policy_without_them_are_refused():
    with pytest.raises(ModelError, match="without a value part"):
        Policy(tiny_llama())(pack(GROUPS), VALUE)


def test_values_come_in_the_order_of_the_groups_whatever_the_bins():
    policy = Policy(tiny_llama(dtype=torch.float64), value=shared_head())
    at_once = policy(pack(GROUPS), VALUE).value_R.detach().float()
    assert torch.allclose(whole(lambda b: policy(b, VALUE), GROUPS, bin_tokens=25).value_R, at_once, atol=1e-6)


def test_the_first_comparison_of_the_paths_looks_at_the_critic_too():
    """A critic that ignores which prompt it reads after is told by its values, though log-probs agree."""
    policy = Policy(tiny_llama(dtype=torch.float64), value=Critic(tiny_scorer(dtype=torch.float64)))
    assert choose_path(policy, pack(GROUPS)) == "shared"
    astray = policy.value._trunk.run
    policy.value._trunk.run = lambda batch: astray(pack(GROUPS[::-1]))
    policy.take("shared", "test")
    assert choose_path(policy, pack([GROUPS[0], *GROUPS[1:]])) == "plain"


def test_gpt2_and_its_critic_agree_on_both_paths():
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY,
        bos_token_id=0,
        eos_token_id=0,
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=128,
        num_labels=1,
    )
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config).double().eval()
    critic = Critic(transformers.GPT2ForSequenceClassification(config).double().eval())
    for part in (shared_head(), critic):
        (value_R, _, own), (plain_R, _, other) = both(Policy(model, value=part))
        assert torch.allclose(value_R, plain_R, atol=1e-10) and own.keys() == other.keys()


def test_beside_an_adapter_the_head_is_trained_in_full():
    model = adapters.create(tiny_llama(), LoraConfig(r=2), seed=0, head="lm")
    policy = Policy(model, value=ValueHead(32))
    torch.nn.init.normal_(policy.value.score.weight)
    policy(pack(GROUPS), VALUE).value_R.sum().backward()
    moved = {name for name, weight in policy.named_parameters() if weight.grad is not None}
    assert {"value.score.weight", "value.score.bias"} <= moved
    assert all("lora_" in name for name in moved if name.startswith("model."))
    assert any("lora_B" in name and policy.get_parameter(name).grad.any() for name in moved if "lora_B" in name)
