"""What an evaluation says of its samples through a judge: rewards and lengths, the thought apart."""

import json

import numpy as np
import pytest
import small_run
import torch
from safetensors.torch import load_file
from test_train_rollouts import world

from logratio.data.prompts import Asking
from logratio.errors import ConfigError, JudgeError
from logratio.rollout.generate import Sample
from logratio.rollout.judge import Comparison, Verdict
from logratio.rollout.judges.function import FunctionJudge
from logratio.train.checkpoint import load, name_of
from logratio.train.recipe import resolve
from logratio.train.rewards import rewards


class Words:
    """A tokenizer of whole strings."""

    said = ["<end>", "ask", "ask <think>", "<think>abcd</think>xy", "xyz", "ef</think>\n\nu", "ghi"]

    def decode(self, ids, skip_special_tokens=False):
        return "".join(self.said[i] for i in ids if i or not skip_special_tokens)


def drawn(*texts):
    return [Sample(np.array([i, 0], np.int32), np.zeros(2, np.float32), True) for i in texts]


def length(prompts, responses, rows):
    return map(len, responses)


def test_rewards_and_lengths_are_of_answers_alone():
    prompts = [np.array([1], np.int32), np.array([2], np.int32)]  # the second one's template opens the thought
    asking = [Asking("ask", {}, 1.0)] * 2
    samples, parts = [drawn(3, 4), drawn(5, 6)], {"select": [1], "unseen": [0]}
    found, apart, _ = rewards(FunctionJudge(length, "length"), asking, prompts, samples, Words(), parts=parts)
    assert {name: part.mean for name, part in apart.items()} == {"select": 0.5, "unseen": 2.5}
    assert found["reward"].mean == found["answer_length"].mean == pytest.approx((2 + 3 + 1 + 0) / 4)
    assert found["thought_length"].mean == pytest.approx((4 + 0 + 2 + 3) / 4) and found["thought_length"].n == 4


def test_where_nobody_thinks_there_are_no_lengths():
    alone = [Asking("ask", {}, 1.0)], [np.array([1])], [drawn(4, 4)]
    found, *_ = rewards(FunctionJudge(length, "length"), *alone, Words())
    assert set(found) == {"reward"} and found["reward"].mean == 3


def test_the_best_checkpoint_by_reward_is_chosen_on_half_of_the_samples_and_reported_on_the_others(tmp_path):
    """A judge whose favour rises and falls from one evaluation to the next, whatever is written."""
    favour = iter([9.0, 1.0, 3.0, 2.0, 2.5])

    def moody(prompts, responses, rows):
        own = next(favour) if len(responses) == 6 else 0.0  # six samples of an evaluation, 32 responses of a phase
        return [own + len(text) / 1000 for text in responses]

    given = {**world(tmp_path, n=40), "judge": moody, "eval.samples": 6, "eval.holdout": 0.2, "train.epochs": 0.5}
    given |= {"keep.best": "eval/reward", "keep.last": 1}
    run = small_run.run(**given, output=str(tmp_path / "run")).directory
    rows = [row for row in small_run.metrics(run) if row["kind"] == "eval"]
    assert len(rows) == 5 and rows[2]["step"] < rows[-1]["step"]
    manifest = json.loads((run / "manifest.json").read_text())
    assert f"step {rows[2]['step']}, the best by eval/reward on the other half" in manifest["weights"]
    weights, _ = load(run / "checkpoints" / name_of(rows[2]["step"]))
    saved = load_file(run / "model" / "model.safetensors")
    assert all(torch.equal(saved[name], weights[f"weight/{name}"]) for name in saved)
    whole, half, rest = rows[2]["reward"], rows[2]["select"]["reward"], rows[2]["unseen"]["reward"]
    assert whole["n"] == 6 == half["n"] + rest["n"] and 0 < half["n"] < 6
    assert whole["mean"] * 6 == pytest.approx(half["mean"] * half["n"] + rest["mean"] * rest["n"])
    assert json.loads((run / "evaluation.json").read_text())["reward"] == rest


REFUSED = {
    "another measure": ({"keep": {"best": "eval/kl"}}, "keep.best is eval/kl, but a run on fresh responses"),
    "who compares": (
        {"keep": {"best": "eval/reward"}, "judge": {"url": "http://a", "model": "b"}},
        "the judge of samples compares responses",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_best_checkpoint_of_fresh_responses_is_refused_where_no_reward_chooses_it(name, tmp_path):
    recipe, says = REFUSED[name]
    with pytest.raises(ConfigError, match=says):
        resolve({"model": "m", "data": "d", "judge": "a:b", "objective": "grpo", **recipe})
    few = {**world(tmp_path), "eval.samples": 1, "keep.best": "eval/reward"}
    with pytest.raises(ConfigError, match="1 held-out samples leave one empty; raise eval.samples"):
        small_run.run(**few, output=str(tmp_path / "run"))


class Compares:
    """Has no say about one response alone."""

    description = "a judge that compares"

    def __call__(self, asked):
        return [Verdict(comparisons=(Comparison(0, 1, 1.0),) if len(one.responses) > 1 else ()) for one in asked]


class Leaves(Compares):
    """Scores, but for the samples of evaluations after the first one."""

    def __init__(self):
        self.evaluated = 0

    def __call__(self, asked):
        alone = len(asked[0].responses) == 1
        self.evaluated += alone
        if alone and self.evaluated > 1:
            return [Verdict(failed="it has left")] * len(asked)
        return [Verdict(tuple(float(len(text)) for text in one.responses)) for one in asked]


def best_by(judge, folder, **more):
    given = {**world(folder), "judge": judge, "judge.on_failure": "skip", "eval.samples": 4, "keep.best": "eval/reward"}
    return small_run.run(**given, **more, output=str(folder / "run"))


def test_a_best_checkpoint_that_no_score_can_choose_stops_the_run_before_its_first_step(tmp_path):
    with pytest.raises(JudgeError, match="keep.best is eval/reward, but the judge scores none of the samples"):
        best_by(Compares(), tmp_path)
    assert [row["kind"] for row in small_run.metrics(tmp_path / "run")] == ["eval"]


def test_a_best_checkpoint_that_no_score_chose_is_told(tmp_path):
    told = []
    run = best_by(Leaves(), tmp_path, on_event=told.append)
    (text,) = [event.data["text"] for event in told if event.kind == "warning" and "keep.best" in event.data["text"]]
    held = json.loads((run.directory / "manifest.json").read_text())["weights"]
    assert held == "the last step, since eval/reward had a value at no evaluation after a step" and held in text
