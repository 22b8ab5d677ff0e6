"""Judges given from Python, checked before anything is learned from them, and samples that a judge is to score."""

import json
from functools import partial

import numpy as np
import pytest
import small_run
import torch

from logratio.errors import ConfigError, JudgeError
from logratio.rollout.judge import Asked, Comparison, Verdict
from logratio.train.distributed import World
from logratio.train.drawn import read
from logratio.train.judges import judge_in_memory, judges
from logratio.train.recipe import resolve
from logratio.train.setup import Inputs

CHAT = "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if not add_generation_prompt %}</s>{% endif %}"
ASKED = [Asked(" the film", (" good", " bad plot")), Asked(" a plot", (" very", " so very"))]


class Own:
    """A judge of a person's own: what it says of one prompt is `says(asked)`."""

    description = "my own judge"

    def __init__(self, says):
        self._says = says

    def __call__(self, asked):
        return [self._says(one) for one in asked]


def world(folder, judge, *, rows=small_run.pairs, **more):
    return {
        **small_run.world(folder, n=20, rows=rows),
        "judge": judge,
        "objective": {"name": "grpo", "beta": 0},
        "rollout": {"k": 2, "max_new_tokens": 4, "rounds": 1},
        "train.batch_size": 8,
        "eval.samples": 1,
        "output": str(folder / "run"),
        **more,
    }


def drawn(run):
    return [row for path in sorted((run.directory / "rollouts").iterdir()) for row in read(path)]


def lengths(prompts, responses, rows):
    return [float(len(text)) for text in responses]


def not_of_good(prompts, responses, rows):
    return [
        float("nan") if "good" in prompt else float(len(text)) for prompt, text in zip(prompts, responses, strict=True)
    ]


def test_a_judge_reads_chats_and_nothing_need_be_held_out(tmp_path):
    def chats(n):
        return [{"prompt": [{"role": "user", "content": row["prompt"]}]} for row in small_run.pairs(n)]

    named = world(tmp_path, lengths, rows=chats, **{"eval.holdout": 0})
    folder = tmp_path / "start"
    told = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**told, "chat_template": CHAT}))
    run = small_run.run(**named)
    assert run.status == "finished" and all(row["prompt"][0]["role"] == "user" for row in drawn(run))


def test_what_a_recipe_says_of_failures_holds_for_a_function_from_python(tmp_path):
    skip = {"judge.on_failure": "skip", "train.batch_size": 16}
    lost = [row for row in drawn(small_run.run(**world(tmp_path, not_of_good, **skip))) if "failed" in row]
    assert lost and all("good" in row["prompt"] for row in lost)


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (lambda one: Verdict(scores=(float("nan"), 1.0)), "it gave the score nan"),
        (lambda one: Verdict(scores=(1.0,)), "it gave 1 scores to 2 responses"),
        (lambda one: Verdict(scores=("high", "low")), "its verdict holds what is no number"),
        (lambda one: Verdict(comparisons=(Comparison(0, 5, 1.0),)), "it compared responses 0 and 5 of 2"),
        (lambda one: [1.0, 2.0], "it returned list in place of a Verdict"),
        (lambda one: {}["missing"], "it raised KeyError: 'missing'"),
    ],
    ids=["not a number", "too few", "words", "out of range", "no verdict", "raises"],
)
def test_an_own_judge_that_answers_nonsense_is_told_so_in_one_sentence(says, why):
    with pytest.raises(JudgeError, match=r"^my own judge failed on 2 of 2 prompts") as caught:
        judge_in_memory(Own(says), "stop")(ASKED)
    assert why in str(caught.value)
    assert [why in verdict.failed for verdict in judge_in_memory(Own(says), "skip")(ASKED)] == [True, True]


def test_only_the_prompts_that_an_own_judge_fails_on_are_lost():
    seen = []

    def says(one):
        seen.append(one.prompt)
        if one.prompt == " a plot":
            raise RuntimeError("no such row")
        return Verdict(scores=(np.float32(1.5), np.float32(0.5)))

    kept, lost = judge_in_memory(Own(says), "skip")(ASKED)
    assert sorted(seen) == sorted(2 * [one.prompt for one in ASKED])  # together, and then each by itself, once
    assert kept.scores == (1.5, 0.5) and {type(score) for score in kept.scores} == {float}
    assert lost.failed == "it raised RuntimeError: no such row"


def test_verdicts_that_cannot_be_told_apart_stop_whatever_is_said_of_failures():
    class Short(Own):
        def __call__(self, asked):
            return super().__call__(asked[:1])

    with pytest.raises(JudgeError, match="answered 2 prompts with 1 verdicts"):
        judge_in_memory(Short(lambda one: Verdict(scores=(1.0, 2.0))), "skip")(ASKED)


def test_scores_of_another_kind_of_float_are_learned_from_and_kept(tmp_path):
    judge = Own(lambda one: Verdict(scores=tuple(np.float32(len(text)) for text in one.responses)))
    rows = drawn(small_run.run(**world(tmp_path, judge)))
    assert len(rows) == 16 and all(row["scores"] == [float(len(text)) for text in row["responses"]] for row in rows)


def test_an_own_judge_that_fails_ends_the_run_as_failed(tmp_path):
    def says(one):
        raise RuntimeError("the service is away")

    with pytest.raises(JudgeError, match="RuntimeError: the service is away"):
        small_run.run(**world(tmp_path, Own(says), **{"eval.samples": 0}))
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["status"] == "failed" and "the service is away" in manifest["error"]


@pytest.mark.parametrize("wrapped", [False, True], ids=["function", "partial"])
def test_a_function_that_describes_itself_is_a_function(wrapped):
    def scores(prompts, responses, rows):
        return [float(len(text)) for text in responses]

    own = partial(scores) if wrapped else scores
    own.description = "counts letters"
    found = judge_in_memory(own, "stop")(ASKED)
    assert [verdict.scores for verdict in found] == [(5.0, 9.0), (5.0, 8.0)]


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ({"objective": "reward"}, "objective reward trains a model that scores"),
        ({"eval": {"samples": 0}}, "eval.samples is 0"),
    ],
    ids=["a reward model", "no samples"],
)
def test_a_judge_of_samples_that_never_are_is_refused(recipe, says):
    evaluated = {"judge": "rewards.py:score", **recipe.get("eval", {})}
    with pytest.raises(ConfigError, match=f"eval.judge is given, and {says}"):
        resolve({"model": "m", "data": "d", **recipe, "eval": evaluated})


def test_a_judge_of_samples_needs_prompts_to_sample_and_one_process_to_ask_it(tmp_path):
    (tmp_path / "rewards.py").write_text("def score(prompts, responses, rows):\n    return [1.0] * len(responses)\n")
    recipe = {"model": "m", "data": "d", "eval": {"judge": f"{tmp_path}/rewards.py:score"}}
    held, none = resolve(recipe).config, resolve(recipe, {"eval.holdout": 0}).config
    alone, two = World(0, 1, "none", torch.device("cpu")), World(0, 2, "replicate", torch.device("cpu"))
    with pytest.raises(ConfigError, match=r"eval\.holdout is 0 without eval\.data"):
        judges(none, Inputs(), alone)
    with pytest.raises(ConfigError, match="there are 2 processes, of which each would ask it"):
        judges(held, Inputs(), two)
    for config, inputs in ((held, Inputs()), (none, Inputs(eval_data=[{"prompt": " a"}]))):
        assert judges(config, inputs, alone)[1].description.startswith("function ")
