"""`rollout.offload`: reference and reward model leave memory between phases, and no number of the run changes."""

import gc

import pytest
import small_run
from test_train_resume import left_by
from test_train_rollouts import world
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from logratio.errors import ConfigError
from logratio.models.load import load_model
from logratio.models.save import save_model
from logratio.train import judges
from logratio.train.recipe import resolve


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A run of PPO, judged by a reward model, with a reference of its own: two phases of two batches."""
    folder = tmp_path_factory.mktemp("offload")
    named = world(folder)
    scorer = load_model(named["model"], head="score", seed=3)
    save_model(scorer, scorer.tokenizer, folder / "scorer")
    return {**named, "objective": "ppo", "judge": str(folder / "scorer"), "train.precision": "fp32"}


def trained(given, folder, **rollout):
    """Run; return the directory, and how many language models and reward models were in memory during a step."""
    alive = []

    def count(event):
        if event.kind == "train" and event.data["step"] == 6:
            held = [type(one) for one in gc.get_objects()]
            alive.append((held.count(LlamaForCausalLM), held.count(LlamaForSequenceClassification)))

    own = {**given, "rollout": {**given["rollout"], **rollout}}
    gc.collect()
    run = small_run.run(**own, output=str(folder / "run"), on_event=count).directory
    return run, alive[0]


def test_what_is_offloaded_is_out_of_memory_while_weights_move_and_changes_no_number(given, tmp_path):
    for name in ("held", "offloaded"):
        (tmp_path / name).mkdir()
    whole, held = trained(given, tmp_path / "held")
    run, left = trained(given, tmp_path / "offloaded", offload=True)
    assert (held[0] - left[0], held[1] - left[1]) == (1, 1) and left[1] == 0
    assert left_by(run) == left_by(whole)


def test_the_reference_has_left_memory_when_the_judge_is_read_in_phases_and_evaluations(given, tmp_path, monkeypatch):
    """One language model more is there than before the run: the policy."""
    whole, held = judges.open_judge, []

    def opened(config):
        judge = whole(config)
        held.append([type(one) for one in gc.get_objects()].count(LlamaForCausalLM))
        return judge

    monkeypatch.setattr(judges, "open_judge", opened)
    gc.collect()
    before = [type(one) for one in gc.get_objects()].count(LlamaForCausalLM)
    trained(given, tmp_path, offload=True)
    assert len(held) > 4 and set(held[1:]) == {before + 1}, (before, held)


REFUSED = {
    "nothing to take out": ({"objective": "grpo", "judge": "a:b", "lora": 2}, "there is nothing to take out of memory"),
    "no reference": ({"objective": {"name": "grpo", "beta": 0}, "judge": "a:b"}, "there is nothing to take out"),
    "one that moves": (
        {"objective": "grpo", "judge": "a:b", "reference_sync": {"every": "phase"}},
        "there is nothing to take out",
    ),
    "at every step": ({"objective": "tdpo", "judge": {"reward_model": "r"}}, "objective tdpo reads the reference at"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_offloading_is_refused_where_it_would_do_nothing_or_cannot_be(name):
    recipe, says = REFUSED[name]
    with pytest.raises(ConfigError) as caught:
        resolve({"model": "m", "data": "d", "rollout": {"offload": True}, **recipe})
    assert says in str(caught.value)


def test_a_stored_adapter_whose_base_is_the_reference_leaves_nothing_to_take_out(tmp_path):
    made = small_run.run(**world(tmp_path), lora=2, output=str(tmp_path / "adapter")).model
    again = {**world(tmp_path), "model": str(made), "reference": "base"}
    with pytest.raises(ConfigError, match="there is nothing to take out of memory"):
        small_run.run(**{**again, "rollout": {**again["rollout"], "offload": True}}, output=str(tmp_path / "run"))


def test_either_of_the_two_is_enough():
    scored = {"judge": "a:b", "lora": 2, "eval": {"judge": {"reward_model": "r"}}}
    for recipe in ({"judge": "a:b"}, {"judge": {"reward_model": "r"}, "lora": 2}, scored):
        assert resolve({"model": "m", "data": "d", "objective": "grpo", "rollout": {"offload": True}, **recipe})
