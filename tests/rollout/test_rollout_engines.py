"""One contract for whatever draws: the built-in sampler, a real completions server, a stand-in of vLLM."""

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from completions_server import Completions
from logratio.errors import EngineError, MissingExtraError
from logratio.rollout.engine import BuiltIn, sample_of
from logratio.rollout.engines.vllm import VllmEngine
from logratio.rollout.generate import generate_by
from logratio.rollout.sampling import Rules
from worlds import tiny_llama

PROMPTS = [np.array(ids, np.int32) for ids in ([3, 4, 5], [6], [3, 4, 5, 7, 8])]
STOPS = [2, 9]
RULES = Rules(3, 6, np.array(STOPS))


@pytest.fixture(scope="module")
def model():
    return tiny_llama(4)


def stand_in(model, monkeypatch):
    """Put a module in vLLM's place that has what the adapter calls, drawn by the built-in sampler."""
    library = ModuleType("vllm")
    library.loaded, library.requests, library.resets = [], [], []

    class LLM:
        def __init__(self, model, **options):
            assert model == "tiny" and options == {"enable_lora": True}

        def generate(self, prompts, rule, *, use_tqdm, lora_request):
            library.requests.append(lora_request)
            assert use_tqdm is False and rule.ignore_eos and not rule.detokenize
            ids = [np.array(prompt["prompt_token_ids"], np.int32) for prompt in prompts]
            rules = Rules(rule.n, rule.max_tokens, np.array(rule.stop_token_ids), rule.temperature, rule.seed)
            drawn = generate_by(model, ids, rules)
            return [SimpleNamespace(outputs=[self.output(one) for one in own]) for own in drawn]

        def output(self, one):
            told = [
                {-1: SimpleNamespace(logprob=0.0), int(token): SimpleNamespace(logprob=float(logp))}
                for token, logp in zip(one.tokens, one.logps, strict=True)
            ]
            return SimpleNamespace(token_ids=one.tokens.tolist(), logprobs=told)

        def apply_model(self, function):
            function(SimpleNamespace(load_weights=library.loaded.extend))

        def reset_prefix_cache(self):
            library.resets.append(1)

    library.LLM = LLM
    library.SamplingParams = lambda **settings: SimpleNamespace(**settings)
    adapters = ModuleType("vllm.lora.request")
    adapters.LoRARequest = lambda *words: words
    for name, module in (("vllm", library), ("vllm.lora", ModuleType("vllm.lora")), ("vllm.lora.request", adapters)):
        monkeypatch.setitem(sys.modules, name, module)
    return library


@pytest.fixture(params=["built-in", "completions", "completions by logprobs", "vllm"])
def engine(request, model, monkeypatch):
    if request.param == "built-in":
        yield BuiltIn(model)
    elif request.param == "vllm":
        stand_in(model, monkeypatch)
        yield VllmEngine("tiny", enable_lora=True)
    else:
        with Completions(model, ids=request.param == "completions") as server:
            yield server.engine()
            server.shutdown()


def test_every_prompt_has_its_responses(engine):
    drawn = engine(PROMPTS, RULES)
    assert [len(own) for own in drawn] == [3, 3, 3]
    samples = [one for own in drawn for one in own]
    assert all(1 <= len(one.tokens) <= 6 and one.tokens.dtype == np.int32 for one in samples)
    assert all(one.ended == (one.tokens[-1] in STOPS) and (one.ended or len(one.tokens) == 6) for one in samples)
    assert not any(np.isin(one.tokens[:-1], STOPS).any() for one in samples)
    assert {one.ended for one in samples} == {True, False}
    assert len({one.tokens.tobytes() for one in drawn[0]}) > 1
    assert engine([], RULES) == [] and isinstance(engine.description, str)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_log_probs_are_the_models_own(engine, model, temperature):
    for prompt, own in zip(PROMPTS, engine(PROMPTS, replace(RULES, temperature=temperature)), strict=True):
        for one in own:
            ids = torch.tensor(np.concatenate((prompt, one.tokens)), dtype=torch.int64)
            with torch.no_grad():
                logps = model(ids[None]).logits[0].log_softmax(-1)
            expected = logps[len(prompt) - 1 : -1].gather(-1, ids[len(prompt) :, None])[:, 0].numpy()
            assert np.abs(one.logps - expected).max() < 1e-4
            if temperature == 1:
                assert np.array_equal(one.tempered, one.logps)


def test_seeds_decide_and_temperature_0_takes_the_likeliest(engine, model):
    def tokens(**more):
        return [[one.tokens.tolist() for one in own] for own in engine(PROMPTS, replace(RULES, **more))]

    assert tokens(seed=5) == tokens(seed=5) != tokens(seed=6)
    greedy = tokens(temperature=0.0, seed=1)
    assert greedy == [[own[0]] * 3 for own in greedy]
    with torch.no_grad():
        assert [own[0][0] for own in greedy] == [
            int(model(torch.tensor(prompt.tolist())[None]).logits[0, -1].argmax()) for prompt in PROMPTS
        ]


def test_a_server_is_asked_by_token_ids_with_a_seed_a_prompt(model):
    with Completions(model) as server:
        drawn = server.engine(concurrency=1)(PROMPTS, replace(RULES, seed=3))
        server.shutdown()
    assert [body["prompt"] for body in server.seen] == [prompt.tolist() for prompt in PROMPTS]
    assert len({body["seed"] for body in server.seen}) == 3 and server.seen[0]["return_token_ids"] is True
    (own,) = generate_by(model, PROMPTS[:1], replace(RULES, seed=server.seen[0]["seed"]))
    assert [one.tokens.tolist() for one in drawn[0]] == [one.tokens.tolist() for one in own]  # in the order of `index`


def test_log_probs_that_are_not_told_are_nan_and_no_mismatch_is_measured(model):
    with Completions(model, spoil=lambda choice: {**choice, "logprobs": None}) as server:
        one = server.engine()(PROMPTS[:1], RULES)[0][0]
        server.shutdown()
    assert np.isnan(one.logps).all() and one.tempered is None and len(one.logps) == len(one.tokens)


def test_a_stop_token_that_is_left_out_is_put_back_where_it_is_known(model):
    def without(choice):
        if choice["finish_reason"] != "stop":
            return choice
        *tokens, last = choice["token_ids"]
        told = {"token_logprobs": choice["logprobs"]["token_logprobs"][:-1]}
        return {**choice, "token_ids": tokens, "logprobs": told, "stop_reason": last}

    with Completions(model) as whole, Completions(model, spoil=without) as server:
        expected, found = whole.engine()(PROMPTS, RULES), server.engine()(PROMPTS, RULES)
        whole.shutdown()
        server.shutdown()
    for own, other in zip(sum(expected, []), sum(found, []), strict=True):
        assert own.tokens.tolist() == other.tokens.tolist() and own.ended == other.ended
        assert np.isnan(other.logps[-1]) == own.ended and other.tempered is None  # of none, as it is not of all


SPOILT = {
    "no token ids": lambda c: {**c, "token_ids": None, "logprobs": None},
    "text tokens": lambda c: {**c, "token_ids": None, "logprobs": {"tokens": [" a"], "token_logprobs": [-1.0]}},
    "too long": lambda c: {**c, "token_ids": [5] * 7, "logprobs": None},
    "nothing": lambda c: {**c, "token_ids": [], "finish_reason": "length", "logprobs": None},
    "after the end": lambda c: {**c, "token_ids": [2, 5], "finish_reason": "stop", "logprobs": None, "stop_reason": 9},
    "early": lambda c: {**c, "token_ids": [5], "finish_reason": "length", "logprobs": None},
    "which end": lambda c: {**c, "token_ids": [5], "finish_reason": "stop", "logprobs": None},
    "fewer log-probs": lambda c: {**c, "token_ids": [5] * 6, "logprobs": {"token_logprobs": [-1.0]}},
    "no log-probs": lambda c: {**c, "token_ids": [5] * 6, "logprobs": {"token_logprobs": [0.5] * 6}},
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_was_not_asked_for_is_an_error(name, model):
    with Completions(model, spoil=SPOILT[name]) as server, pytest.raises(EngineError, match="cannot be used: it "):
        try:
            server.engine()(PROMPTS, RULES)
        finally:
            server.shutdown()


def test_a_server_that_is_gone_or_draws_too_few_is_an_error(model):
    with Completions(model) as server:
        server.answer = lambda body: {"choices": []}
        with pytest.raises(EngineError, match="0 choices where n = 3"):
            server.engine()(PROMPTS, RULES)
        engine = server.engine()
        server.shutdown()
    with pytest.raises(EngineError, match="drew nothing: the connection failed"):
        engine(PROMPTS, RULES)


def test_weights_and_adapters_are_handed_over(model, monkeypatch):
    library = stand_in(model, monkeypatch)
    engine = VllmEngine("tiny", enable_lora=True)
    engine.load_weights(iter(model.state_dict().items()))
    assert len(library.loaded) == len(model.state_dict()) and len(library.resets) == 1
    engine(PROMPTS, RULES)
    for folder in ("first", "second"):
        engine.load_adapter(folder)
        engine(PROMPTS, RULES)
    assert library.requests == [None, ("adapter-1", 1, "first"), ("adapter-2", 2, "second")]


def test_without_vllm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'logratio\[vllm\]'"):
        VllmEngine("tiny")


def test_a_sample_is_checked():
    rules = Rules(1, 3, np.array([2]))
    one = sample_of([5, 2], [-1.0, -2.0], rules)
    assert one.ended and one.tempered is one.logps
    assert sample_of([5, 5, 5], [-1.0] * 3, replace(rules, temperature=0.7)).tempered is None
    with pytest.raises(EngineError, match="log-probs"):
        sample_of([5, 2], [-1.0], rules)
