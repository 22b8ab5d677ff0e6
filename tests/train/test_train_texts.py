"""Texts mixed into the steps of a run on fresh responses: PPO-ptx and its like."""

from dataclasses import replace

import numpy as np
import pytest
import small_run
import torch
from preflight_runs import checked
from test_train_gradient import learner_of, off
from test_train_rollouts import trained, world

from logratio import objectives
from logratio.errors import ConfigError
from logratio.logps.policy import Policy
from logratio.objectives.mixture import with_texts
from logratio.testing.cases import case
from logratio.train.checkpoint import load, name_of
from logratio.train.gradient import metric_names, step_gradient
from logratio.train.preflight.texts import CHECKS
from logratio.train.recipe import resolve
from logratio.train.source import Step
from logratio.train.texts import beside
from worlds import random_groups

TEXTS = random_groups(5, k=1, seed=9, weights=True)
WEIGHT = 32.0
"""A power of two, which scales what the model itself rounds to float32 (its norms) without another rounding."""
ON_POLICY = sorted(name for name in objectives.names() if objectives.load(name).data == "prompts")


def gradient(name, groups, *, path="plain", bin_tokens=10**6, scope=None, texts=()):
    """The gradient and the metrics of a step of these groups, with texts beside them where there are any."""
    own = learner_of(name, torch.float64, bin_tokens=bin_tokens, scope=scope)
    policy = Policy(own.policy.model, path=path, value=own.policy.value)
    learner = replace(own, policy=policy)
    if texts:
        learner = replace(learner, objective=with_texts(own.objective, WEIGHT))
    step = Step(0, beside(groups, texts) if texts else groups)
    totals = step_gradient(learner, step)
    found = torch.cat([p.grad.flatten() for p in policy.model.parameters()])
    return found, totals.reduce(learner.world, metric_names(learner, step))


@pytest.mark.parametrize("name", ON_POLICY)
def test_texts_add_their_weight_times_the_gradient_of_imitating_them_and_change_no_measure_of_the_responses(name):
    """One response a row and the full log-softmax, in float64; then in bins, by both routes."""
    objective = objectives.load(name)
    groups = case(objective, objective.settings(), n=6).groups
    together, measured = gradient(name, groups, texts=TEXTS)
    alone, expected = gradient(name, groups)
    imitated, of_texts = gradient("sft", TEXTS)
    assert imitated.norm() > 1e-3 and off(together - alone, WEIGHT * imitated) <= 1e-12
    assert measured["text_nll"] == pytest.approx(of_texts["loss"], rel=1e-12)
    apart = {"text_nll", "loss", "gradient_raising"}  # the last two are of all that is learned
    assert {key: measured[key] for key in measured.keys() - apart} == pytest.approx(
        {key: expected[key] for key in expected.keys() - apart}, rel=1e-9, abs=1e-12
    )
    whole, _ = gradient(name, groups, path="shared", texts=TEXTS)
    for scope in ("item", "step"):
        binned, _ = gradient(name, groups, path="shared", bin_tokens=60, scope=scope, texts=TEXTS)
        assert off(binned, whole) <= 1e-11


def test_a_run_goes_through_its_texts_again_and_again_and_goes_on_bit_for_bit(tmp_path):
    long = " film" * 100  # beyond tokens.max_length, and cut
    texts = [{"text": f" the {word} is good"} for word in small_run.WORDS[:6]] + [{"text": long}]
    small_run.write_rows(tmp_path / "texts.jsonl", texts)
    named = {"objective": "ppo", "texts.data": str(tmp_path / "texts.jsonl"), "texts.weight": 2.0}
    arguments = {**world(tmp_path), **named, "texts.batch_size": 3, "every.checkpoint": 0.5}
    told = []
    run = small_run.run(**arguments, output=str(tmp_path / "run"), on_event=told.append).directory
    lines = "\n".join(next(event.data["lines"] for event in told if event.kind == "open"))
    assert "texts: 3 of 7 texts a step, 2 × their mean loss per token" in lines
    losses = [row["text_nll"] for row in trained(run)]
    assert len(losses) == 8 and losses[0] == pytest.approx(np.log(22), abs=0.5)  # a random model of 22 words
    again = {**arguments, "output": str(tmp_path / "again")}
    assert small_run.run(**again, stop_at=("train", 5, ["SIGTERM"])).status == "interrupted"
    small_run.run(**again, resume="auto")
    assert trained(tmp_path / "again") == trained(run)
    weights = [load(folder / "checkpoints" / name_of(8))[0] for folder in (run, tmp_path / "again")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_texts_are_looked_at_before_the_run_as_the_data_of_any_imitation(tmp_path):
    words = small_run.WORDS

    def found(texts):
        file = small_run.write_rows(tmp_path / "texts.jsonl", [{"text": text} for text in texts])
        every = checked({**world(tmp_path), "objective": "ppo", "texts.data": str(file)}).items()
        return {name.removeprefix("texts_"): each for name, each in every if name.startswith("texts_")}

    sound = found(f" the {word} is good" for word in words)
    assert [*sound] == [name for name, _ in CHECKS] and {each.level for each in sound.values()} == {"fine"}
    shown = sound["tokens_shown"].examples[0].texts
    assert shown == {"prompt, read only": "<s>", "response, trained on": " the the is good</s>"}
    assert "one BOS, and it ends with one trained end token" in sound["sequence_ends"].says

    ill = found([*(f" the<s> {word}" for word in words[:4]), *(f" zebra {word}" for word in words[:4]), " film" * 99])
    assert {name for name, each in ill.items() if each.level != "fine"} == {"sequence_ends", "unknown_tokens", "cut"}
    assert ill["sequence_ends"].level == "stop" and "4 of 9 responses hold a BOS inside" in ill["sequence_ends"].says
    assert ill["unknown_tokens"].says.startswith("Texts: 4.4% of 91 response tokens are '<unk>' (first: data row 4)")
    assert "1 of 9 go beyond tokens.max_length 64 (the longest has 101)" in ill["cut"].says


REFUSED = {
    "offline": ({"objective": "dpo"}, "objective dpo learns from pairs, beside which no texts"),
    "hot": ({"objective": "ppo", "judge": "a:b", "rollout": {"temperature": 0.7}}, "rollout.temperature is 0.7"),
    "no data": ({"objective": "ppo", "judge": "a:b", "texts": {"weight": 2}}, "`texts.data` is missing"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_texts_are_refused_where_they_would_mean_nothing(name):
    recipe, says = REFUSED[name]
    with pytest.raises(ConfigError) as caught:
        resolve({"model": "m", "data": "d", "texts": {"data": "t"}, **recipe})
    assert says in str(caught.value)
