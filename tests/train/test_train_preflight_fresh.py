"""Checks of runs on fresh responses: each passes on a sound run and finds its planted fault."""

import copy
import json
from contextlib import suppress
from dataclasses import replace
from unittest.mock import patch

import pytest
import small_run
import torch
from preflight_runs import checked
from test_train_rollouts import files, trained, world

from completions_server import Completions
from logratio.errors import PreflightError
from logratio.models.load import load_model, load_tokenizer
from logratio.rollout.engine import BuiltIn
from logratio.train import assemble, rollouts
from logratio.train.preflight import fresh

NAMES = ["generation_template", "stop_tokens", "judge_answers", "sampler_agrees", "enough_responses"]
DURING = ["checkpoint_reload", "parameters_moved", "sampler_follows", "updates_kept"]
"""Of the run's own steps: the first checkpoint, two steps, the second phase, and the last of twenty or of all."""


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    return world(tmp_path_factory.mktemp("fresh"))


def test_a_sound_run_passes_and_its_numbers_are_those_of_one_without_checks(arguments, tmp_path):
    told = []
    run = small_run.run(**arguments, preflight=True, output=str(tmp_path / "run"), on_event=told.append).directory
    found = {each["name"]: each for each in json.loads((run / "preflight.json").read_text())}
    assert [*found] == [*NAMES, *DURING] and {each["level"] for each in found.values()} == {"fine"}
    assert [event.data["finding"]["name"] for event in told if event.kind == "preflight"] == [*NAMES, *DURING]
    assert found["sampler_follows"]["figures"]["phase"] == 2 and found["parameters_moved"]["figures"]["steps"] == 2
    (shown,) = found["judge_answers"]["examples"]
    drawn = [json.loads(line) for line in (run / "rollouts" / "phase-000001.jsonl").read_text().splitlines()]
    texts = [text for name, text in shown["texts"].items() if name.startswith("response")]
    assert set(texts) == set(drawn[0]["responses"])  # those of the first phase, drawn as it draws
    plain = small_run.run(**arguments, output=str(tmp_path / "plain")).directory
    assert files(plain) == files(run) and small_run.metrics(plain) == small_run.metrics(run)


def test_a_judge_without_a_verdict_stops_a_run_before_its_first_step_or_is_told_where_prompts_may_be_lost(
    arguments, tmp_path
):
    folder = arguments["judge"].rpartition("/")[0]
    given = {**arguments, "judge": f"{folder}/rewards.py:fails", "output": str(tmp_path / "run")}
    with pytest.raises(PreflightError, match="judge_answers: The judge has no verdict: .*the service is away"):
        small_run.run(**given, preflight=True)
    assert not (tmp_path / "run" / "rollouts").exists()
    judge = {"function": f"{folder}/rewards.py:fails_on_good", "on_failure": "skip"}
    rows = small_run.write_rows(tmp_path / "good.jsonl", [{"prompt": f" good {word}"} for word in small_run.WORDS])
    found = checked({**arguments, "data": str(rows), "judge": judge})["judge_answers"]
    assert found.level == "stop" and "no verdict on 4 of the first 4 prompts" in found.says and found.remedy


def test_a_response_that_ends_at_an_ordinary_word_is_told(arguments, tmp_path):
    folder = small_run.start_model(tmp_path / "start")
    (word,) = load_tokenizer(str(folder)).encode(" film", add_special_tokens=False)
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": word}))
    found = checked({**arguments, "model": str(folder)})["stop_tokens"]
    assert found.level == "look"
    assert f"ends at token {word} (' film'), which the generation config names" in found.says
    with patch.object(assemble, "stop_tokens", lambda *_: [word]):
        found = checked(arguments)["stop_tokens"]
    assert f"{word} (' film'), which the chat template names" in found.says and "end of turn" in found.remedy


def test_responses_that_nothing_ends_stop_the_run(arguments):
    with patch.object(assemble, "stop_tokens", lambda *_: []):
        found = checked(arguments)["stop_tokens"]
    assert found.level == "stop" and "No token ends a response" in found.says


def test_checks_draw_few_and_short_responses_whatever_the_run_draws_and_judge_none_by_its_cut(arguments):
    judge = arguments["judge"].replace(":score", ":flat")
    with patch.object(fresh, "LONGEST", 3):
        found = checked({**arguments, "judge": judge, "rollout": {"k": 6, "max_new_tokens": 9}})
    assert found["judge_answers"].figures["responses"] == fresh.FEW * fresh.MOST < 6 * fresh.FEW
    assert found["sampler_agrees"].figures["tokens"] <= 3 * fresh.FEW * fresh.MOST
    assert found["enough_responses"].level == "note" and "checks cut them" in found["enough_responses"].says


@pytest.mark.parametrize(
    ("seed", "spoil", "level", "says"),
    [
        (0, lambda choice: {**choice, "logprobs": None}, "note", "The engine does not tell log-probs"),
        (1, lambda choice: choice, "look", "Sampler and trainer differ by up to"),
    ],
    ids=["without log-probs", "of other weights"],
)
def test_a_server_whose_log_probs_are_not_those_of_the_trainer_is_told(arguments, tmp_path, seed, spoil, level, says):
    other = load_model(str(small_run.start_model(tmp_path / "served", seed=seed)))
    with Completions(other.model, spoil) as server:
        engine = {"url": server.url, "model": "tiny", "retries": 0}
        rollout = {"k": 2, "max_new_tokens": 5, "rounds": 1, "engine": engine}
        found = checked({**arguments, "rollout": rollout})["sampler_agrees"]
        server.shutdown()
    assert found.level == level and found.says.startswith(says)


def test_a_sampler_that_draws_from_another_distribution_than_is_trained_stops_the_run(arguments):
    def cooler(model):
        return lambda ids, rules: BuiltIn(model)(ids, replace(rules, temperature=0.7))

    with patch.object(rollouts, "BuiltIn", cooler):
        found = checked(arguments)["sampler_agrees"]
    assert found.level == "stop" and found.figures["apart"] > 0.01
    same = checked({**arguments, "rollout": {"k": 2, "max_new_tokens": 6, "temperature": 0.7}})
    assert same["sampler_agrees"].level == "fine" and same["enough_responses"].level == "note"  # two are a little


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"judge": "flat"}, "responses to each of 4 prompts were judged alike"),
        ({"rollout": {"k": 3, "max_new_tokens": 6, "temperature": 1e-3}}, "are the same, token by token"),
    ],
    ids=["a judge that sees no difference", "responses that are one"],
)
def test_responses_between_which_nothing_can_be_learned_are_told(arguments, fault, says):
    folder = arguments["judge"].rpartition("/")[0]
    fault = {**fault, "judge": f"{folder}/rewards.py:{fault.get('judge', 'score')}"}
    found = checked({**arguments, **fault})["enough_responses"]
    assert found.level == "look" and says in found.says
    if "rollout" not in fault:  # where each response is learned from by itself, that is no fault
        assert checked({**arguments, **fault, "objective": "ppo"})["enough_responses"].level == "fine"


def of_steps(arguments, run):
    """What is found in the first steps of a run that may be stopped by it, by name."""
    with suppress(PreflightError):
        small_run.run(**arguments, preflight=True, output=str(run))
    kept = json.loads((run / "preflight.json").read_text())
    return {each["name"]: each for each in kept if each["name"] in DURING}


def test_a_sampler_that_keeps_the_weights_of_the_beginning_stops_the_run_as_its_second_phase_begins(
    arguments, tmp_path, monkeypatch
):
    held = []

    def stale(model):
        held.append(copy.deepcopy(model)) if not held else None
        return BuiltIn(held[0])

    monkeypatch.setattr(rollouts, "BuiltIn", stale)
    found = of_steps({**arguments, "train.lr": 1e-2}, tmp_path / "run")["sampler_follows"]
    assert found["level"] == "stop" and "drawn from other weights" in found["says"]
    assert found["figures"]["apart"] > 0.01 > 1e-5 > found["figures"]["before"]
    assert len(trained(tmp_path / "run")) == 5


def test_weights_that_do_not_move_stop_the_run_unless_nothing_was_to_be_learned(arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: None)
    found = of_steps(arguments, tmp_path / "still")
    assert found["parameters_moved"]["level"] == "stop" and len(trained(tmp_path / "still")) == 2
    flat = {"judge": arguments["judge"].replace(":score", ":flat"), "objective": {"name": "grpo", "beta": 0}}
    found = of_steps({**arguments, **flat}, tmp_path / "flat")
    assert found["parameters_moved"]["level"] == "look" and len(trained(tmp_path / "flat")) == 8
    assert "None of the first 8 steps had a gradient" in found["parameters_moved"]["says"]
    assert "sampler_follows" not in found  # no weight moved that it could have failed to follow
