"""Win rates by a language model behind a real server: place, failures, and what is not asked twice."""

import json

import pytest
from chat_server import longer, serving

from logratio.config import JudgeConfig
from logratio.evaluate.winrate.api import winrate
from logratio.rollout import http
from logratio.rollout.judges import open_judge


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGRATIO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(http, "_FIRST_WAIT", 0.01)


@pytest.fixture
def files(tmp_path):
    prompts = [f"prompt {i}" for i in range(12)]
    made = []
    for name, text in (("long", "a longer answer"), ("short", "brief")):
        made.append(tmp_path / f"{name}.jsonl")
        rows = [{"prompt": prompt, "response": f"{text} {i}"} for i, prompt in enumerate(prompts)]
        made[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return made, prompts


def rated(server, files, out, **more):
    judge = open_judge(JudgeConfig(url=server.url, model="judge-1", timeout=5.0, retries=1, on_failure="skip", **more))
    told = winrate(*files, judge, out=out)
    return told["at"][0]["pairs"][0], told["usage"]


def test_a_model_that_prefers_what_stands_first_gives_a_half_and_flips_always(files, tmp_path):
    with serving(lambda first, second: "Verdict: A") as server:
        pair, usage = rated(server, files, tmp_path / "out")
    assert pair["rate"]["mean"] == 0.5 and pair["flips"]["mean"] == 1 and pair["flips"]["n"] == 12
    assert pair["shown_first"]["mean"] == 1 and pair["shown_first"]["n"] == 12
    assert usage["calls"] == 24 == len(server.seen)


def test_each_pair_is_asked_about_in_both_orders_and_never_again(files, tmp_path):
    with serving(longer) as server:
        first, usage = rated(server, files, tmp_path / "out")
        again, _ = rated(server, files, tmp_path / "out")
        assert len(server.seen) == 24
    assert first == again and first["rate"]["mean"] == 1 and first["flips"]["mean"] == 0
    assert first["shown_first"]["mean"] == 0.5
    assert usage["tokens_in"] == 2400


def test_answers_that_cannot_be_read_are_counted_and_asked_again(files, tmp_path):
    spoilt = [lambda handler: handler.say("I cannot say.")] * 6
    with serving(longer, script=spoilt) as server:
        pair, _ = rated(server, files, tmp_path / "out", concurrency=1)
        assert pair["failed"] == 3 and pair["rate"]["n"] == 9 and pair["rate"]["mean"] == 1
        pair, _ = rated(server, files, tmp_path / "out", concurrency=1)
        assert pair["failed"] == 0 and pair["rate"]["n"] == 12


def test_both_bad_is_counted(files, tmp_path):
    with serving(lambda first, second: "Verdict: both bad") as server:
        pair, _ = rated(server, files, tmp_path / "out")
    assert pair["both_bad"]["mean"] == 1 and pair["rate"]["mean"] == 0.5
