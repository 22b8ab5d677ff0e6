"""The path's verdict is remembered under all that it follows from, and under nothing less."""

import json

import pytest
import transformers
from zoo import build, uneven

from logratio.files import cache_root
from logratio.logps import verdict
from logratio.logps.policy import Policy
from logratio.logps.verdict import choose_path_once

WEIGHTS = {"fingerprint": "a"}


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path))


@pytest.fixture
def compared(monkeypatch):
    """How often both paths were run."""
    times = []
    own = verdict.choose_path
    monkeypatch.setattr(verdict, "choose_path", lambda *given: times.append(1) or own(*given))
    return times


def found(model, *, batch=None, **weights):
    policy = Policy(model)
    choose_path_once(policy, uneven() if batch is None else batch, model={**WEIGHTS, **weights})
    return policy


def test_the_same_comparison_is_made_once(compared):
    first, again = found(build("llama")), found(build("llama"))
    assert len(compared) == 1
    assert first.path == again.path == "shared"
    assert again.reason == f"{first.reason}, found before" and "equal to the plain path within" in first.reason
    assert again.model.config._attn_implementation == first.model.config._attn_implementation


def test_a_plain_verdict_is_remembered_too(compared):
    assert found(build("stablelm")).path == "plain"
    again = found(build("stablelm"))
    assert again.path == "plain" and "not handed the layout" in again.reason and len(compared) == 1


@pytest.mark.parametrize("change", ["weights", "batch", "config", "dtype", "code"])
def test_whatever_it_follows_from_makes_it_anew(change, compared, monkeypatch):
    found(build("llama"))
    model, batch, weights = build("llama"), uneven(), {}
    if change == "weights":
        weights = {"fingerprint": "b"}
    elif change == "batch":
        batch.tokens_T[0] += 1
    elif change == "config":
        model.config.rms_norm_eps *= 2
    elif change == "dtype":
        model = model.double()
    else:
        monkeypatch.setattr(verdict, "_code", lambda: {"files": "other"})
    found(model, batch=batch, **weights)
    assert len(compared) == 2


def test_a_class_of_ones_own_is_compared_each_time(compared):
    class Own(transformers.LlamaForCausalLM):
        pass

    for _ in range(2):
        model = build("llama")
        model.__class__ = Own
        assert found(model).path == "shared"
    assert len(compared) == 2


@pytest.mark.parametrize("damage", ["", "[]", json.dumps({"path": "shared"})])
def test_a_damaged_note_is_made_again(damage, compared):
    found(build("llama"))
    (note,) = (cache_root() / "paths").iterdir()
    whole = note.read_text()
    note.write_text(damage)
    found(build("llama"))
    assert len(compared) == 2 and note.read_text() == whole
