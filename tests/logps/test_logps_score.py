"""Scores of responses: shared against plain, both against single rows and against transformers' own."""

import numpy as np
import pytest
import torch
import transformers
from zoo import CONFIGS, TOKENS, exact_norms, group, uneven

from logratio.batch.group import Group
from logratio.batch.needs import Needs
from logratio.batch.packed import pack
from logratio.config import LoraConfig
from logratio.errors import ModelError
from logratio.logps.policy import Policy, choose_path
from logratio.models import adapters

SCORE = Needs(head="score")
PAD = TOKENS["pad_token_id"]


def scorer(name="llama", *, dtype=torch.float64, labels=1):
    """A random reward model, weights spread wide; its pad id is that of `zoo.TOKENS`, which texts never hold."""
    family, settings = CONFIGS[name]
    config = getattr(transformers, f"{family}Config")(**settings, **TOKENS, num_labels=labels)
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForSequenceClassification")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return model.to(dtype).eval()


def adapted(model):
    made = adapters.create(model, LoraConfig(r=3), seed=0, head="score")
    for name, parameter in made.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, dtype=parameter.dtype) * 0.1
    return made


def both(model, batch):
    """Scores and gradients on the two paths."""
    policy, found = Policy(model), []
    for path in ("shared", "plain"):
        policy.take(path, "test")
        policy.zero_grad()
        score_S = policy(batch, SCORE).score_S
        (score_S * torch.linspace(-1, 2, len(score_S), dtype=score_S.dtype)).sum().backward()
        found.append(
            (score_S.detach(), {n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None})
        )
    return found


def equal(found, tolerance):
    (score_S, gradients), (plain_S, others) = found
    assert gradients.keys() == others.keys() and gradients
    scale = max(float(g.abs().max()) for g in others.values())
    assert float((score_S - plain_S).abs().max()) < tolerance * max(1.0, float(plain_S.abs().max()))
    assert max(float((gradients[n] - others[n]).abs().max()) for n in gradients) < tolerance * scale
    assert len(score_S.unique()) == len(score_S)


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral window", "qwen3"])
def test_shared_equals_plain(name):
    equal(both(scorer(name, dtype=torch.float32), uneven()), 5e-6)  # the plain path is off by 4e-6 from float64


@pytest.mark.parametrize("name", ["llama", "mistral window"])
@pytest.mark.parametrize("lora", [False, True])
def test_shared_equals_plain_in_float64(name, lora):
    model = exact_norms(scorer(name))
    equal(both(adapted(model) if lora else model, uneven()), 1e-12)


def test_beside_an_adapter_the_head_is_trained_whole():
    model = adapted(scorer())
    trained = {name for name, p in model.named_parameters() if p.requires_grad and "lora_" not in name}
    (head,) = trained
    assert "score" in head
    _, (_, gradients) = both(model, uneven())
    assert gradients.keys() == {name for name, p in Policy(model).named_parameters() if p.requires_grad}
    assert gradients[f"model.{head}"].norm() > 0.1


def rows_of(batch):
    """Prompt and response of each response, one after the other."""
    spans = batch.spans
    for s, g in enumerate(spans.group_S.tolist()):
        start, prompt = int(spans.prompt_start_G[g]), int(spans.prompt_length_G[g])
        own, length = int(spans.response_start_S[s]), int(spans.response_length_S[s])
        yield torch.cat((batch.tokens_T[start : start + prompt], batch.tokens_T[own : own + length]))


@pytest.mark.parametrize("path", ["shared", "plain"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_score_is_transformers_own_of_the_row_alone_and_of_rows_padded_on_either_side(name, path):
    batch, model = uneven(), scorer(name)
    rows = list(rows_of(batch))
    with torch.no_grad():
        ours = Policy(model, path=path)(batch, SCORE).score_S
        model.set_attn_implementation("sdpa")
        alone = torch.cat([model(row[None]).logits[:, 0] for row in rows])
        torch.testing.assert_close(ours, alone, rtol=1e-5, atol=1e-6)
        width = max(map(len, rows))
        for side in ("right", "left"):
            missing = [torch.full((width - len(row),), PAD) for row in rows]
            parts = zip(rows, missing, strict=True)
            ids = torch.stack([torch.cat((row, pad) if side == "right" else (pad, row)) for row, pad in parts])
            mask = (ids != PAD).long()
            places = (mask.cumsum(1) - 1).clamp(min=0)
            padded = model(ids, attention_mask=mask, position_ids=places).logits[:, 0]
            torch.testing.assert_close(padded, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("path", ["shared", "plain"])
def test_the_last_token_is_found_by_length_even_where_it_is_the_padding_token(path):
    """A response whose last tokens are the pad id is scored at its end, not before: the id plays no part."""
    prompt = np.array([5, 6, 7], np.int32)
    responses = (np.array([8, 9], np.int32), np.array([8, 9, PAD, PAD], np.int32))
    mask = tuple(np.ones(len(ids), bool) for ids in responses)
    batch = pack([Group(0, prompt, responses, mask, np.zeros((0, 2), np.int32))])
    model = scorer()
    with torch.no_grad():
        score_S = Policy(model, path=path)(batch, SCORE).score_S
        h_LD = model.model(torch.tensor([[5, 6, 7, 8, 9, PAD, PAD]])).last_hidden_state[0]
        expected = model.score(h_LD)[:, 0]
    torch.testing.assert_close(score_S, expected[[4, 6]], rtol=1e-5, atol=1e-6)
    assert abs(float(expected[4] - expected[6])) > 1e-3


def test_which_tokens_carry_loss_does_not_move_a_score():
    rng = np.random.default_rng(0)
    whole = group(rng, 6, [5, 8], gaps=False)
    few = Group(0, whole.prompt, whole.responses, tuple(np.arange(len(m)) == 1 for m in whole.loss), whole.edges)
    policy = Policy(scorer())
    assert torch.equal(policy(pack([whole]), SCORE).score_S, policy(pack([few]), SCORE).score_S)


@pytest.mark.parametrize("path", ["shared", "plain"])
def test_a_groups_scores_do_not_depend_on_its_bin(path):
    rng = np.random.default_rng(1)
    groups = [group(rng, prompt, [3, 8, 13]) for prompt in (70, 2, 17)]
    policy = Policy(exact_norms(scorer()), path=path)
    together = policy(pack(groups), SCORE).score_S
    alone = torch.cat([policy(pack([one]), SCORE).score_S for one in groups])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("path", ["shared", "plain"])
def test_an_empty_batch_gives_no_scores_and_zero_gradients(path):
    policy = Policy(scorer(), path=path)
    logps = policy(pack([]), SCORE)
    assert logps.score_S.shape == logps.policy_R.shape == (0,)
    logps.score_S.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in policy.parameters())


def test_there_are_no_log_probs_to_be_misread_beside_scores():
    assert Policy(scorer())(uneven(), SCORE).policy_R.shape == (0,)


def test_the_paths_are_compared_by_scores():
    policy = Policy(scorer(dtype=torch.float32))
    assert choose_path(policy, uneven(), "score") == "shared"
    assert "on 11 responses of the first batch" in policy.reason


def test_a_difference_between_the_paths_is_found(monkeypatch):
    model = scorer()
    policy = Policy(model)
    monkeypatch.setattr("logratio.logps.policy.at_ends", lambda batch: batch.spans.response_start_S)
    assert choose_path(policy, uneven(), "score") == "plain"
    assert policy.reason.startswith("LlamaForSequenceClassification differs by")


def test_a_head_of_several_numbers_is_no_score():
    with pytest.raises(ModelError, match="gives 3 numbers, and a score is one"):
        Policy(scorer(labels=3))(uneven(), SCORE)
